"""A few steps of a generic teacher without batch norm or dropout."""

import os
from pathlib import Path

import pytest
import tiny
import torch
from pools import teacher
from transformers import TrainerCallback

from hf_ctkd.generic import GenericTeacherConfig, GenericTeacherTrainer, StudentPool

TERMS = ("loss", "task_loss", "branch_ce", "branch_kl", "architecture_loss", "entropy_loss")


class Keep(TrainerCallback):
    """Keeps the gradient of the first step, by name."""

    def __init__(self) -> None:
        self.gradient: dict[str, list[float]] = {}

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if not self.gradient:
            found = {name.removeprefix("module."): one.grad for name, one in model.named_parameters()}
            self.gradient = {
                name: grad.flatten()[::5].tolist() for name, grad in found.items() if grad is not None and grad.any()
            }


def steps(folder: Path, pool: StudentPool, *, accumulation: int, rows: int, count: int = 1) -> dict:
    """Terms and gradient of the first step, and a digest of all parameters after the last."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    keep = Keep()
    trainer = GenericTeacherTrainer(
        teacher("vit"),
        GenericTeacherConfig(
            str(folder / "out"), max_steps=count, per_device_train_batch_size=-(-rows // accumulation // processes),
            gradient_accumulation_steps=accumulation, use_cpu=True, disable_tqdm=True, logging_steps=1,
            save_strategy="no", max_grad_norm=0.0, learning_rate=0.01, train_sampling_strategy="sequential",
        ),
        pool=pool,
        train_dataset=tiny.image_rows(rows, unlabelled=rows // 3),
        processing_class=tiny.processor(16),
        callbacks=[keep],
    )  # fmt: skip
    trainer.train()
    first = trainer.state.log_history[0]
    weights = torch.cat([one.detach().double().flatten() for one in trainer.student_with_loss.parameters()])
    return {
        "logged": {name: first[name] for name in TERMS if name in first},
        "gradient": keep.gradient,
        "weights": [float(weights.sum()), float(weights.square().sum())],
    }


def same_steps(found: dict, expected: dict) -> None:
    assert found["logged"] == pytest.approx(expected["logged"], rel=2e-4, abs=2e-5)
    assert set(found["gradient"]) == set(expected["gradient"])
    for name, gradient in expected["gradient"].items():
        assert found["gradient"][name] == pytest.approx(gradient, rel=2e-3, abs=2e-5), name
