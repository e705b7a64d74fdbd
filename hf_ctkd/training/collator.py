"""Raw rows on their way to the models: the collator makes a batch that holds all that a training step reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from hf_ctkd.data import Preprocessor, RowInput, TargetRows
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.tasks import Augmentation, Classification, Label, StudentTask
from hf_ctkd.teachers.cache import named_tensors
from hf_ctkd.training.finite_rows import FiniteRows
from hf_ctkd.types import RowOutputs


@dataclass(frozen=True)
class Row:
    """One raw row.

    Args:
        number: its index in the data set.
        content: image, text or pair of texts; None where no model preprocesses it.
        label: as the student's task reads it.
        train: whether it is trained on: only then is it augmented and read by teachers.
        inputs: the student's preprocessed inputs where they are cached, texts with padding behind or before them.
        target: what the loss teaches this row, `[width]`, where that is computed once.
    """

    number: int
    content: RowInput | None
    label: Label
    train: bool
    inputs: dict[str, Tensor] | None = None
    target: Tensor | None = None


class RowDataset(Dataset):
    """Raw rows for a `DataLoader`: decoded in its workers, preprocessed by the collator.

    Args:
        rows: checked raw rows.
        train: whether they are trained on.
        preprocessor: the student's, to preprocess all rows once and cache the result in memory; None leaves it to the
            collator.
        contents: whether raw contents are needed beside cached inputs.
        task: how the student's labels are read.
        targets: `[rows, width]`, what the loss teaches each row; None where it is not computed once.
        numbers: `[read]`, of the rows that an epoch reads, repeated ones included; None for every row once.

    Raises:
        DatasetError: a row that cannot be read, where inputs are cached.
    """

    def __init__(
        self,
        rows: TargetRows,
        *,
        train: bool,
        preprocessor: Preprocessor | None = None,
        contents: bool = True,
        task: StudentTask | None = None,
        targets: Tensor | None = None,
        numbers: Tensor | None = None,
    ) -> None:
        self.rows = rows
        self.numbers = torch.arange(len(rows)) if numbers is None else numbers
        self.train = train
        self.preprocessor = preprocessor
        self.contents = contents or preprocessor is None
        self.task = Classification() if task is None else task
        self.targets = targets
        # In the constructor: a loader's workers live for one epoch, and so would what they cached.
        self._cached = None if preprocessor is None else self._preprocessed(preprocessor)

    def _preprocessed(self, preprocessor: Preprocessor) -> tuple[dict[str, Tensor], list[Label]]:
        contents = self.rows.inputs(range(len(self.rows)))
        labels = [self.task.label(self.rows, number, contents[number]) for number in range(len(contents))]
        return preprocessor(contents), labels

    def __len__(self) -> int:
        """Number of rows that an epoch reads."""
        return len(self.numbers)

    def __getitem__(self, position: int) -> Row:
        """One raw row; raises DatasetError naming it if it cannot be decoded."""
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: list[int]) -> list[Row]:
        """The raw rows of a batch, read at once: a `DataLoader` asks for them so."""
        numbers = self.numbers[positions]
        listed: list[int] = numbers.tolist()
        contents = self.rows.inputs(listed) if self.contents else [None] * len(listed)
        targets = [None] * len(listed) if self.targets is None else self.targets[numbers].unbind()
        if self._cached is None:
            return [
                Row(number, content, self.task.label(self.rows, number, content), self.train, target=target)
                for number, content, target in zip(listed, contents, targets, strict=True)
            ]
        inputs, labels = self._cached
        parts = {name: values[numbers].unbind() for name, values in inputs.items()}
        cached = [dict(zip(parts, row, strict=True)) for row in zip(*parts.values(), strict=True)]
        return [
            Row(number, content, labels[number], self.train, row, target)
            for number, content, row, target in zip(listed, contents, cached, targets, strict=True)
        ]


@dataclass(frozen=True)
class DistillationCollator:
    """Makes a batch in which the student and every teacher read the same raw rows, each preprocessed in its own way.

    Args:
        student: the student's preprocessing.
        teachers: preprocessing of the teachers that run at every step; empty when their outputs are cached.
        augmentation: applied once to each training row, so that all models read the same changed row.
        task: how the student's labels become a batch.
        teacher_outputs: outputs of each teacher over all training rows, for a loss that reads them at every step
            (without teachers, none of them); None where the loss reads targets, or the teachers run.
        finite: the training rows that the loss reads.
    """

    student: Preprocessor
    teachers: tuple[Preprocessor, ...] = ()
    augmentation: Augmentation | None = None
    task: StudentTask = Classification()
    teacher_outputs: tuple[RowOutputs, ...] | None = None
    finite: FiniteRows = FiniteRows()  # noqa: RUF009 (frozen)

    def __call__(self, batch_rows: Sequence[object]) -> dict[str, Any]:
        """The batch, on the CPU.

        Always `labels`, `counts` (numbers of rows, of labelled rows and of labels), `numbers` of the rows in their data
        set, and the `student` inputs. Of rows trained on also what the loss reads: `targets`, or `teacher_outputs` as a
        list of named tensors, or a list of `teacher_inputs`; and which rows it reads, where these are not all.

        Raises:
            InvalidArgumentError: if the rows are not those of a `RowDataset`.
        """
        rows = _checked(batch_rows)
        pairs = [self._augmented(row) for row in rows]
        contents: list[Any] = [content for content, _ in pairs]
        cached = [row.inputs for row in rows if row.inputs is not None]
        student = _stacked(cached) if cached else self.student(contents)
        labels = self.task.collate([label for _, label in pairs], self.student, student)
        numbers = torch.tensor([row.number for row in rows])
        counts = (torch.tensor(len(rows)), self.task.labelled(labels).sum(), self.task.count(labels))
        batch = {"labels": labels, "counts": torch.stack(counts), "numbers": numbers, "student": student}
        return batch | self._for_loss(rows, contents, numbers)

    def _for_loss(self, rows: list[Row], contents: list[Any], numbers: Tensor) -> dict[str, Any]:
        if not all(row.train for row in rows):
            return {}
        targets = [row.target for row in rows if row.target is not None]
        finite = self.finite.in_batch(numbers)
        if targets:
            return {"targets": torch.stack(targets), **finite}
        if self.teacher_outputs is not None:
            outputs = [named_tensors(outputs.select(numbers)) for outputs in self.teacher_outputs]
            return {"teacher_outputs": outputs, **finite}
        return {"teacher_inputs": [teacher(contents) for teacher in self.teachers], **finite}

    def _augmented(self, row: Row) -> tuple[Any, Label]:
        if self.augmentation is None or not row.train or row.content is None:
            return row.content, row.label
        return self.task.augment(self.augmentation, row.content, row.label)


def _checked(rows: Sequence[object]) -> list[Row]:
    checked = [row for row in rows if isinstance(row, Row)]
    if len(checked) < len(rows):
        raise InvalidArgumentError(
            f"A batch must hold rows that the trainer has checked, got {type(rows[0]).__name__}. Pass `train_dataset` "
            "to the constructor, as the loss is set up for its rows, and evaluate a `datasets.Dataset`."
        )
    return checked


def _stacked(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Cached rows as a batch; texts lose the padding that none of them needs."""
    batch = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    mask = batch.get("attention_mask")
    if mask is None:
        return batch
    used = mask.any(dim=0)
    return {name: values[:, used] if values.shape == mask.shape else values for name, values in batch.items()}
