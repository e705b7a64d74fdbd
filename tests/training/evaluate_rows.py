"""Evaluation loss of a student on some rows, a part of them unlabelled."""

from pathlib import Path

import tiny
import torch
from torch.nn.functional import cross_entropy

from hf_ctkd.training import DistillationConfig, DistillationTrainer


def evaluation_loss(folder: Path, batch_size: int) -> float:
    """Of 13 rows, the last 8 of them unlabelled."""
    rows = tiny.image_rows(13, unlabelled=8, seed=5)
    trainer = DistillationTrainer(
        tiny.normless_student(),
        DistillationConfig(
            str(folder / "out"), per_device_eval_batch_size=batch_size, use_cpu=True, disable_tqdm=True,
            bootstrap_resamples=0, report_to="none",
        ),
        eval_dataset=rows,
        processing_class=tiny.processor(),
    )  # fmt: skip
    return trainer.evaluate()["eval_loss"]


def expected_loss() -> float:
    """The mean over the labelled rows."""
    rows = tiny.image_rows(13, unlabelled=8, seed=5)[:5]
    images = [image.convert("RGB") for image in rows["image"]]
    with torch.no_grad():
        logits = tiny.normless_student().eval()(**tiny.processor()(images=images, return_tensors="pt")).logits
    return float(cross_entropy(logits, torch.tensor(rows["label"])))
