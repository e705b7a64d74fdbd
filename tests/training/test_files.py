import torch

from hf_ctkd.training.files import off_memory


def test_small_tensors_stay_in_memory(tmp_path):
    tensor = torch.arange(6.0).view(2, 3)
    assert off_memory(tensor, tmp_path / "cache") is tensor and not (tmp_path / "cache").exists()


def test_large_tensors_are_mapped_from_a_file_without_a_name(tmp_path):
    tensor = torch.arange(6.0).view(2, 3)
    mapped = off_memory(tensor, tmp_path / "cache", limit=23)
    torch.testing.assert_close(mapped, tensor)
    assert mapped.data_ptr() != tensor.data_ptr()
    assert list((tmp_path / "cache").iterdir()) == []
