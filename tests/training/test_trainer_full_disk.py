"""A cache of teacher outputs on a full disk."""

import errno

import pytest

from hf_ctkd.errors import DiskFullError
from hf_ctkd.losses import ProbeLoss, ProjectionLoss, RowTransportLoss


@pytest.fixture
def full_disk(monkeypatch):
    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("hf_ctkd.teachers.cache.save_file", full)


@pytest.mark.parametrize("kind", [ProbeLoss, ProjectionLoss], ids=["fits", "reads at every step"])
def test_training_goes_on_with_teachers_at_every_step(make, image_teacher, full_disk, caplog, kind):
    trainer = make(teachers=[image_teacher], loss=kind())
    (message,) = [message for message in caplog.messages if "No space left" in message]
    assert "choose another `cache_dir`" in message and message.endswith("The teachers run at every step instead.")
    assert not trainer.teacher_runner.cached
    assert "teacher_inputs" in next(iter(trainer.get_train_dataloader()))
    trainer.train()
    assert trainer.state.log_history[0][kind.name] > 0


def test_a_loss_of_the_untrained_student_cannot_go_on(make, image_teacher, full_disk):
    with pytest.raises(DiskFullError, match="Cannot write to the cache .* Free some space, or choose another"):
        make(teachers=[image_teacher], loss=RowTransportLoss(input_features="student"))
