"""Raw rows on their way to the models: one collator gives the student's and each teacher's view of the same row."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image as PILImage
from torch.utils.data import Dataset

from hf_ctkd.teachers import Preprocessor, TargetRows

Augmentation = Callable[[Any], Any]
"""From a raw image or text to a changed one; applied once a row, before anybody's preprocessing."""


@dataclass(frozen=True)
class Row:
    """One raw row.

    Args:
        number: its place in the data set, by which cached outputs are found.
        content: image or text.
        label: class id, -100 without one.
        train: whether it is trained on, so that it is augmented and shown to teachers.
    """

    number: int
    content: PILImage.Image | str
    label: int
    train: bool


class RowDataset(Dataset):
    """Raw rows for a `DataLoader`: decoded in its workers, preprocessed by the collator.

    Args:
        rows: checked raw rows.
        train: whether they are trained on.
    """

    def __init__(self, rows: TargetRows, *, train: bool) -> None:
        self.rows = rows
        self.train = train

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows)

    def __getitem__(self, number: int) -> Row:
        """One raw row; raises DatasetError naming it if it cannot be decoded."""
        return Row(number, self.rows.inputs([number])[0], int(self.rows.labels[number]), self.train)


@dataclass(frozen=True)
class DistillationCollator:
    """Makes a batch in which the student and every teacher see the same raw rows, each preprocessed in its own way.

    Args:
        student: the student's preprocessing.
        teachers: preprocessing of the teachers that run at every step; empty when their outputs are cached.
        augmentation: applied once to each training row, so that all models see the same changed row.
    """

    student: Preprocessor
    teachers: tuple[Preprocessor, ...] = ()
    augmentation: Augmentation | None = None

    def __call__(self, rows: list[Row]) -> dict[str, Any]:
        """The batch: `labels` and `numbers` `[batch]`, `student` inputs, and a list of `teachers` inputs."""
        contents = [
            self.augmentation(row.content) if self.augmentation is not None and row.train else row.content
            for row in rows
        ]
        train = all(row.train for row in rows)
        return {
            "labels": torch.tensor([row.label for row in rows]),
            "numbers": torch.tensor([row.number for row in rows]),
            "student": self.student(contents),
            "teachers": [teacher(contents) for teacher in self.teachers] if train else [],
        }
