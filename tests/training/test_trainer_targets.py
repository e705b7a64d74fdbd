"""A batch holds all that the loss reads: targets computed once, cached outputs, or inputs of teachers that run."""

from typing import ClassVar

import pytest
import tiny
import torch
from torch import nn

from hf_ctkd.losses import DistillationLoss, InvertedProjectionLoss
from hf_ctkd.teachers import Teacher
from hf_ctkd.training import DistillationTrainer
from hf_ctkd.training.trainer import off_memory
from hf_ctkd.types import ModelOutputs, Needs


class MeanFeature(DistillationLoss):
    """A projection of the student's features learns the mean feature of each teacher, which is known beforehand."""

    name: ClassVar[str] = "mean_feature"
    citation: ClassVar[str] = "of the tests"
    needs = Needs.TEACHER | Needs.FEATURES

    def setup(self, context):
        self.projection = nn.Linear(context.student.features.shape[1], len(context.teachers))

    def row_targets(self, context):
        columns = [[self._means([chunk]) for _, chunk in outputs.chunks(10)] for outputs in context.teachers]
        return torch.cat([torch.cat(column) for column in columns], dim=1)

    def on_targets(self, student, targets, labels):
        return {self.name: (self.projection(student.features) - targets).square().mean()}

    def forward(self, student, teachers, labels):
        return self.on_targets(student, self._means(teachers), labels)

    @staticmethod
    def _means(teachers):
        return torch.stack([teacher.features.mean(1) for teacher in teachers], dim=1)


@pytest.fixture
def make(config, image_teacher, tmp_path):
    other = str(tiny.save_image_teacher(tmp_path / "other", seed=8, classes=7, size=8))

    def trainer(loss, *, augmentation=None, **changes):
        torch.manual_seed(0)
        return DistillationTrainer(
            tiny.image_student(),
            config(max_steps=3, **changes),
            teachers=[image_teacher, other],
            loss=loss,
            train_dataset=tiny.image_rows(24, unlabelled=6),
            processing_class=tiny.processor(),
            augmentation=augmentation,
        )

    return trainer


def losses(trainer):
    trainer.train()
    return [log["loss"] for log in trainer.state.log_history if "loss" in log]


def first_batch(trainer):
    return next(iter(trainer.get_train_dataloader()))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("loss", [MeanFeature, InvertedProjectionLoss])
def test_cached_and_running_teachers_train_the_same_student(make, loss, workers):
    cached = make(loss(), dataloader_num_workers=workers)
    running = make(loss(), cache_teacher_outputs=False)
    assert losses(cached) == pytest.approx(losses(running), rel=1e-4)


def test_batch_holds_the_targets_of_its_rows_and_nothing_of_teachers(make):
    trainer = make(MeanFeature())
    batch = first_batch(trainer)
    assert "teachers" not in batch and "teacher_outputs" not in batch
    outputs = trainer.teacher_runner.outputs(batch)
    torch.testing.assert_close(batch["targets"], MeanFeature._means(outputs))
    assert batch["counts"].tolist() == [8, int((batch["labels"] != -100).sum()), int((batch["labels"] != -100).sum())]


def test_batch_holds_the_cached_outputs_that_a_loss_reads_at_every_step(make):
    trainer = make(InvertedProjectionLoss())
    batch = first_batch(trainer)
    assert "teachers" not in batch and "targets" not in batch
    for named, outputs in zip(batch["teacher_outputs"], trainer.teacher_runner.outputs(batch), strict=True):
        torch.testing.assert_close(named["features"], outputs.features)
        torch.testing.assert_close(named["logits"], outputs.logits)


@pytest.mark.parametrize("loss", [MeanFeature, InvertedProjectionLoss])
def test_step_reads_no_teacher_and_looks_nothing_up(make, loss, monkeypatch):
    trainer = make(loss())
    batch = first_batch(trainer)

    def forbidden(*arguments, **settings):
        raise AssertionError("a teacher was read during a step")

    monkeypatch.setattr(Teacher, "outputs", forbidden)
    monkeypatch.setattr(ModelOutputs, "select", forbidden)
    trainer.create_optimizer_and_scheduler(3)
    assert trainer.training_step(trainer.model, batch, batch["counts"]) > 0


@pytest.mark.parametrize("changes", [{"cache_teacher_outputs": False}, {"augmentation": lambda image: image}])
def test_without_cached_outputs_there_are_no_targets(make, changes):
    batch = first_batch(make(MeanFeature(), **changes))
    assert "targets" not in batch and len(batch["teacher_inputs"]) == 2


def test_targets_above_a_size_are_read_from_a_file(make, monkeypatch, tmp_path):
    in_memory = losses(make(MeanFeature()))
    monkeypatch.setattr(
        "hf_ctkd.training.trainer.off_memory", lambda tensor, folder: off_memory(tensor, folder, limit=0)
    )
    assert losses(make(MeanFeature(), dataloader_num_workers=1)) == pytest.approx(in_memory)


def test_evaluation_rows_have_no_targets(make):
    trainer = make(MeanFeature())
    batch = next(iter(trainer.get_eval_dataloader(tiny.image_rows(8, seed=5))))
    assert batch.keys() == {"labels", "counts", "numbers", "student"}
