"""Handwritten digits with labels that no teacher has, and a teacher that tells digits apart."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset, Features, Image
from PIL import Image as PILImage
from sklearn.datasets import load_digits
from tiny import processor
from transformers import ResNetConfig, ResNetForImageClassification

LABELLED, UNLABELLED, TEST = 60, 640, 400
_DIGITS = load_digits()
_ORDER = np.random.default_rng(0).permutation(len(_DIGITS.target))
_TEACHER = _ORDER[: len(_ORDER) - LABELLED - UNLABELLED - TEST]


def splits(label_of, feature, seed: int) -> tuple[Dataset, Dataset]:
    """Training rows, of which the first few have a label, and test rows; the teacher saw none of them.

    Args:
        label_of: from a digit to its label.
        feature: the type of the label column.
        seed: which rows have a label.
    """
    others = _ORDER[len(_TEACHER) :]
    train, test = np.random.default_rng(seed).permutation(others[:-TEST]), others[-TEST:]
    known = np.arange(len(train)) < LABELLED
    labels = [label_of(int(_DIGITS.target[row])) if has else None for row, has in zip(train, known, strict=True)]
    features = Features({"image": Image(), "label": feature})
    return (
        Dataset.from_dict({"image": _images(train), "label": labels}, features=features),
        Dataset.from_dict(
            {"image": _images(test), "label": [label_of(int(_DIGITS.target[row])) for row in test]}, features=features
        ),
    )


def _images(rows: np.ndarray) -> list[PILImage.Image]:
    return [PILImage.fromarray((_DIGITS.images[row] * 15.9).astype(np.uint8)) for row in rows]


def model(classes: int, *, widths: tuple[int, int], seed: int, **settings) -> ResNetForImageClassification:
    torch.manual_seed(seed)
    config = ResNetConfig(
        embedding_size=widths[0], hidden_sizes=list(widths), depths=[1, 1], layer_type="basic", num_labels=classes,
        downsample_in_first_stage=False, **settings,
    )  # fmt: skip
    return ResNetForImageClassification(config)


def save_teacher(folder: Path) -> str:
    """A classifier of the ten digits, trained for two seconds on rows of its own."""
    teacher = model(10, widths=(16, 32), seed=1).train()
    batch = processor(16)(images=[image.convert("RGB") for image in _images(_TEACHER)], return_tensors="pt")
    labels = torch.tensor(_DIGITS.target[_TEACHER])
    optimizer = torch.optim.AdamW(teacher.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        rows = torch.randperm(len(labels), generator=generator)[:64]
        loss = F.cross_entropy(teacher(batch["pixel_values"][rows]).logits, labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    teacher.save_pretrained(folder)
    processor(16).save_pretrained(folder)
    return str(folder)


def gains(make_trainer, metric: str) -> list[float]:
    """What distillation adds to a metric of the same student trained on labels alone, for two seeds.

    Args:
        make_trainer: from a seed and whether to distill to a trainer.
        metric: its name.
    """
    differences = []
    for seed in (0, 1):
        values = []
        for distils in (False, True):
            trainer = make_trainer(seed, distils)
            trainer.train()
            values.append(trainer.evaluate()[f"eval_{metric}"])
        differences.append(values[1] - values[0])
    return differences
