"""The second of two optimiser steps over some rows, cut into micro-batches."""

import os
from pathlib import Path

import pytest
import tiny
import torch
from transformers import TrainerCallback

from hf_ctkd.losses import CommitteeLoss, ProbeLoss, RowTransportLoss, TeacherFreeLoss, WeightedSum
from hf_ctkd.training import DistillationConfig, DistillationTrainer

LOSSES = {
    "probe": (ProbeLoss, True),
    "row_transport": (RowTransportLoss, True),
    "sum": (lambda: WeightedSum([(RowTransportLoss(), 0.5), (TeacherFreeLoss(), 0.5)]), True),
    "committee": (CommitteeLoss, True),
    "choosy committee": (lambda: CommitteeLoss(prior=None, top_k=1), False),
}
"""Name -> how to make it, and whether outputs of teachers are kept."""
TERMS = (
    "loss",
    "task_loss",
    "probe",
    "row_transport",
    "teacher_free",
    "committee",
    "committee_probe",
    "committee_task",
)


def for_loss(loss: str, teachers: str) -> str:
    """All of the teachers for a committee, the first of them for the others."""
    return teachers if "committee" in loss else teachers.split(",")[0]


class Keep(TrainerCallback):
    """Keeps the gradient that the optimiser is about to use."""

    gradient: list[float] = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        lacking = [name for name, parameter in model.named_parameters() if parameter.grad is None]
        assert not lacking, f"no gradient for {lacking}"
        named = [parameter.grad.flatten() for parameter in model.parameters()]
        self.gradient = torch.cat(named)[::7].tolist()


def one_step(folder: Path, teachers: str, *, accumulation: int, rows: int, loss: str = "probe") -> dict:
    """Logged terms and gradient of the second step, when losses know of the first.

    Some rows are unlabelled, unevenly so over the micro-batches.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    make, kept = LOSSES[loss]
    keep = Keep()
    student = tiny.normless_student()
    with torch.no_grad():
        student.classifier.weight.mul_(30)  # it says something of its own about each row
    trainer = DistillationTrainer(
        student,
        DistillationConfig(
            str(folder / "out"), max_steps=2, per_device_train_batch_size=-(-rows // accumulation // processes),
            gradient_accumulation_steps=accumulation, use_cpu=True, disable_tqdm=True, logging_steps=1,
            save_strategy="no", max_grad_norm=0.0, learning_rate=0.0, train_sampling_strategy="sequential",
            cache_dir=str(folder / "cache"), cache_teacher_outputs=kept,
        ),
        teachers=teachers.split(","),
        loss=make(),
        train_dataset=tiny.image_rows(rows, unlabelled=rows // 3),
        processing_class=tiny.processor(),
        callbacks=[keep],
    )  # fmt: skip
    trainer.train()
    second = trainer.state.log_history[1]
    return {"logged": {name: second[name] for name in TERMS if name in second}, "gradient": keep.gradient}


def same_step(step: dict, expected: dict) -> None:
    assert step["logged"] == pytest.approx(expected["logged"], rel=2e-4)
    assert step["gradient"] == pytest.approx(expected["gradient"], rel=2e-3, abs=2e-5)
