import logging

import pytest
import torch
from checkpoints import save_checkpoint

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.training.files import (
    LOSS_FILE,
    checkpoint_problem,
    in_memory,
    newest_checkpoint,
    off_memory,
    removed_if_unfinished,
    resumed_from,
    set_checkpoints_aside,
)
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


def cut(path):
    path.write_bytes(path.read_bytes()[:-3])


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda folder: (folder / "trainer_state.json").unlink(), "trainer_state.json is missing or cut off"),
        (lambda folder: (folder / "trainer_state.json").write_text("[]"), "has no `global_step`"),
        (lambda folder: cut(folder / "trainer_state.json"), "trainer_state.json is missing or cut off"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no safetensors weights"),
        (lambda folder: cut(folder / "model.safetensors"), "model.safetensors is cut off"),
        (lambda folder: (folder / LOSS_FILE).write_bytes(b"x"), f"{LOSS_FILE} is cut off"),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text(
                '{"weight_map": {"a": "b.safetensors"}}'
            ),
            "lacks b.safetensors",
        ),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text("{"),
            "lacks model.safetensors.index.json",
        ),
    ],
)
def test_a_checkpoint_that_was_not_written_to_its_end_is_skipped(tmp_path, caplog, monkeypatch, damage, problem):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    whole = save_checkpoint(tmp_path / "checkpoint-9", 9)
    damaged = save_checkpoint(tmp_path / "checkpoint-10", 10)
    assert newest_checkpoint(tmp_path) == damaged and checkpoint_problem(damaged) is None
    damage(damaged)
    assert problem in checkpoint_problem(damaged)
    assert newest_checkpoint(tmp_path) == whole
    assert f"{damaged} is skipped" in caplog.text and problem in caplog.text


def test_resuming_from_the_last_checkpoint_needs_one(tmp_path):
    assert resumed_from(None, tmp_path) is resumed_from(False, tmp_path) is None
    assert resumed_from("anywhere", tmp_path) == "anywhere"
    with pytest.raises(InvalidArgumentError, match="`resume_from_checkpoint` finds no complete checkpoint in"):
        resumed_from(True, tmp_path)
    with pytest.raises(InvalidArgumentError, match="finds no complete checkpoint"):
        resumed_from(True, tmp_path / "nowhere")
    save_checkpoint(tmp_path / "checkpoint-9", 9)
    assert resumed_from(True, tmp_path) == str(tmp_path / "checkpoint-9")


def test_a_checkpoint_counts_as_unfinished_from_the_start_of_its_writing(tmp_path):
    folder = save_checkpoint(tmp_path / "checkpoint-9", 9)
    with removed_if_unfinished(folder, main_process=True):
        assert "trainer_state.json is missing" in checkpoint_problem(folder)
        (folder / "trainer_state.json").write_text('{"global_step": 9}')
    assert checkpoint_problem(folder) is None


def test_checkpoints_set_aside_replace_those_set_aside_before(tmp_path):
    for step in (1, 2):
        folder = save_checkpoint(tmp_path / "checkpoint-9", step)
        assert set_checkpoints_aside(tmp_path) == [tmp_path / "checkpoint-9.old"]
        assert not folder.exists()
    assert '"global_step": 2' in (tmp_path / "checkpoint-9.old" / "trainer_state.json").read_text()
    assert newest_checkpoint(tmp_path) is None
