"""Raw rows on their way to the models: one collator gives the student's and each teacher's view of the same row."""

from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image as PILImage
from torch import Tensor
from torch.utils.data import Dataset

from hf_ctkd.data import Preprocessor, TargetRows
from hf_ctkd.tasks import Augmentation, Classification, Label, StudentTask


@dataclass(frozen=True)
class Row:
    """One raw row.

    Args:
        number: its place in the data set, by which cached outputs are found.
        content: image or text; None where nobody is going to preprocess it.
        label: as the student's task reads it.
        train: whether it is trained on, so that it is augmented and shown to teachers.
        view: the student's preprocessed inputs where they are kept, texts with padding behind or before them.
    """

    number: int
    content: PILImage.Image | str | None
    label: Label
    train: bool
    view: dict[str, Tensor] | None = None


class RowDataset(Dataset):
    """Raw rows for a `DataLoader`: decoded in its workers, preprocessed by the collator.

    Args:
        rows: checked raw rows.
        train: whether they are trained on.
        keep: the student's preprocessing, to be applied once to all rows and kept in memory; None to leave it to the
            collator.
        contents: whether raw contents are needed beside what is kept.
        task: how the student's labels are read.

    Raises:
        DatasetError: a row that is to be kept and cannot be read.
    """

    def __init__(
        self,
        rows: TargetRows,
        *,
        train: bool,
        keep: Preprocessor | None = None,
        contents: bool = True,
        task: StudentTask | None = None,
    ) -> None:
        self.rows = rows
        self.train = train
        self.keep = keep
        self.contents = contents or keep is None
        self.task = Classification() if task is None else task
        # Here and now: the workers of a loader live for an epoch each, and so would what they kept.
        self._kept = None if keep is None else self._preprocessed(keep)

    def _preprocessed(self, keep: Preprocessor) -> tuple[dict[str, Tensor], list[Label]]:
        contents = self.rows.inputs(range(len(self.rows)))
        return keep(contents), [self.task.label(self.rows, number, contents[number]) for number in range(len(contents))]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows)

    def __getitem__(self, number: int) -> Row:
        """One raw row; raises DatasetError naming it if it cannot be decoded."""
        content = self.rows.inputs([number])[0] if self.contents else None
        if self._kept is None:
            return Row(number, content, self.task.label(self.rows, number, content), self.train)
        views, labels = self._kept
        return Row(number, content, labels[number], self.train, {name: view[number] for name, view in views.items()})


@dataclass(frozen=True)
class DistillationCollator:
    """Makes a batch in which the student and every teacher see the same raw rows, each preprocessed in its own way.

    Args:
        student: the student's preprocessing.
        teachers: preprocessing of the teachers that run at every step; empty when their outputs are cached.
        augmentation: applied once to each training row, so that all models see the same changed row.
        task: how the student's labels become a batch.
    """

    student: Preprocessor
    teachers: tuple[Preprocessor, ...] = ()
    augmentation: Augmentation | None = None
    task: StudentTask = Classification()

    def __call__(self, rows: list[Row]) -> dict[str, Any]:
        """The batch: `labels` and `numbers` of its rows, `student` inputs, and a list of `teachers` inputs."""
        changed = [self._changed(row) for row in rows]
        contents: list[Any] = [content for content, _ in changed]
        views = [row.view for row in rows if row.view is not None]
        train = all(row.train for row in rows)
        student = _joined(views) if views else self.student(contents)
        return {
            "labels": self.task.collate([label for _, label in changed], self.student, student),
            "numbers": torch.tensor([row.number for row in rows]),
            "student": student,
            "teachers": [teacher(contents) for teacher in self.teachers] if train else [],
        }

    def _changed(self, row: Row) -> tuple[Any, Label]:
        if self.augmentation is None or not row.train or row.content is None:
            return row.content, row.label
        return self.task.augment(self.augmentation, row.content, row.label)


def _joined(views: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Kept rows as a batch; texts lose the padding that none of them needs."""
    batch = {name: torch.stack([view[name] for view in views]) for name in views[0]}
    mask = batch.get("attention_mask")
    if mask is None:
        return batch
    used = mask.any(dim=0)
    return {name: values[:, used] if values.shape == mask.shape else values for name, values in batch.items()}
