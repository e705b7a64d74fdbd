import torch

from hf_ctkd.training.files import in_memory, off_memory
from hf_ctkd.types import ModelOutputs


def test_small_tensors_stay_in_memory(tmp_path):
    tensor = torch.arange(6.0).view(2, 3)
    assert off_memory(tensor, tmp_path / "cache") is tensor and not (tmp_path / "cache").exists()


def test_large_tensors_are_mapped_from_a_file_without_a_name(tmp_path):
    tensor = torch.arange(6.0).view(2, 3)
    mapped = off_memory(tensor, tmp_path / "cache", limit=23)
    torch.testing.assert_close(mapped, tensor)
    assert mapped.data_ptr() != tensor.data_ptr()
    assert list((tmp_path / "cache").iterdir()) == []


class OnDisk:
    """Outputs that count how many rows were read of them."""

    def __init__(self, rows):
        self.outputs, self.read = ModelOutputs(torch.randn(rows, 4), torch.randn(rows, 2)), 0

    def __len__(self):
        return len(self.outputs)

    def select(self, rows):
        self.read += len(rows)
        return self.outputs.select(rows)

    def chunks(self, size):
        return self.outputs.chunks(size)


def test_outputs_up_to_a_size_are_read_into_memory():
    small = OnDisk(10)  # 10 rows of 6 numbers of 4 bytes
    torch.testing.assert_close(in_memory(small, limit=240).features, small.outputs.features)
    large = OnDisk(10)
    assert in_memory(large, limit=239) is large and large.read == 1
