"""What a student is for: how its labels are read, what they cost it, and how it is judged."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

import datasets
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from PIL import Image as PILImage
from torch import Tensor
from transformers import EvalPrediction, PreTrainedModel

from hf_ctkd.data import Modality, Preprocessor, TargetRows
from hf_ctkd.losses import DistillationLoss
from hf_ctkd.types import ModelOutputs

Augmentation = Callable[..., Any]
"""From a raw image or text to a changed one; for dense students from image and label to both. Applied once a row."""

Label = int | np.ndarray | None
"""Of one row: a class id, -100 without one; or an array over the pixels of its image, None without one."""


class TaskArguments(Protocol):
    """The arguments of a run that tasks read; `DistillationConfig` has them, as any object may."""

    input_column: str | None
    label_column: str | None
    skip_bad_rows: bool
    label_smoothing_factor: float
    metrics: list[str]
    bootstrap_resamples: int
    seed: int


class StudentTask(ABC):
    """All that differs between students that classify rows and students that say something of every pixel.

    The trainer asks it for everything that touches labels; teachers and losses know nothing of it.
    """

    metric_names: ClassVar[tuple[str, ...]]
    """Metrics of an evaluation unless others are asked for."""

    @abstractmethod
    def tag(self, modality: Modality) -> str:
        """The Hub's task tag."""

    @abstractmethod
    def rows(
        self,
        dataset: datasets.Dataset,
        args: TaskArguments,
        *,
        like: TargetRows | None = None,
        evaluation: bool = False,
    ) -> TargetRows:
        """Raw rows with their columns found.

        Args:
            dataset: one split.
            args: names of columns, and whether bad rows are left out.
            like: rows that have the same columns, if there are any.
            evaluation: the rows are only to be evaluated on.

        Raises:
            DatasetError: if they cannot be used.
        """

    @abstractmethod
    def rows_to_predict(self, dataset: datasets.Dataset, like: TargetRows) -> TargetRows:
        """Raw rows to be predicted, all of them, labelled or not.

        Args:
            dataset: one split; its label column may be missing or empty.
            like: rows that have the same columns.

        Raises:
            DatasetError: if one cannot be used.
        """

    def has_labels(self, rows: TargetRows) -> bool:
        """Whether any row has a label, if only of one pixel.

        Args:
            rows: raw rows.

        Raises:
            DatasetError: naming the row whose label cannot be used.
        """
        labels = (self.label(rows, number) for number in range(len(rows)))
        return any(label is not None and int(self.count(torch.as_tensor(label)[None])) for label in labels)

    @abstractmethod
    def default_loss(self) -> DistillationLoss:
        """How such a student learns from teachers unless told otherwise."""

    @abstractmethod
    def check_loss(self, loss: DistillationLoss, rows: TargetRows | None) -> None:
        """Refuse a loss that cannot serve such a student, or not with these rows.

        Raises:
            InvalidArgumentError: if it reads what there is not.
            DatasetError: if it needs other rows.
        """

    @abstractmethod
    def check_student(self, student: PreTrainedModel, outputs: ModelOutputs, rows: TargetRows) -> None:
        """Compare what a student says about a few rows with what their labels are.

        Raises:
            InvalidArgumentError: if it has no head, or one for other labels.
        """

    @abstractmethod
    def check_arguments(self, args: TaskArguments) -> None:
        """Refuse arguments of a run that mean nothing here.

        Raises:
            InvalidArgumentError: naming the argument.
        """

    @abstractmethod
    def label(self, rows: TargetRows, number: int, content: PILImage.Image | str | None = None) -> Label:
        """The label of one row.

        Args:
            rows: raw rows.
            number: the row.
            content: its image or text, where it is at hand, to be checked against.

        Raises:
            DatasetError: naming the row, if it cannot be used.
        """

    @abstractmethod
    def augment(
        self, augmentation: Augmentation, content: PILImage.Image | str, label: Label
    ) -> tuple[PILImage.Image | str, Label]:
        """A changed row with the label that then belongs to it."""

    @abstractmethod
    def collate(self, labels: Sequence[Label], view: Preprocessor, inputs: dict[str, Tensor]) -> Tensor:
        """Labels as a batch, over the positions of the student's own view.

        Args:
            labels: one a row.
            view: the student's preprocessing.
            inputs: what it made of the same rows.
        """

    @abstractmethod
    def count(self, labels: Shaped[Tensor, "batch ..."]) -> Int[Tensor, ""]:
        """How many labels there are in a batch: the task loss is a mean over so many."""

    @abstractmethod
    def labelled(self, labels: Shaped[Tensor, "batch ..."]) -> Bool[Tensor, " batch"]:
        """Which rows of a batch have a label, if only of one pixel."""

    @abstractmethod
    def row_labels(self, labels: Shaped[Tensor, "batch ..."]) -> Int[Tensor, " batch"]:
        """One class id a row for the distillation loss, -100 where there is none."""

    @abstractmethod
    def prediction(self, outputs: ModelOutputs) -> Tensor:
        """What the student's head says.

        Raises:
            InvalidArgumentError: if it has no such head.
        """

    @abstractmethod
    def loss_sum(
        self, prediction: Tensor, labels: Shaped[Tensor, "batch ..."], *, label_smoothing: float = 0.0
    ) -> Tensor:
        """The task loss, summed over all labels of a batch; 0 without any."""

    def row_losses(
        self, prediction: Tensor, labels: Shaped[Tensor, "batch ..."], *, label_smoothing: float = 0.0
    ) -> Float[Tensor, "batch 2"]:
        """The task loss of every row, summed over its labels, beside their number.

        From these comes a mean over labels that does not depend on how rows are cut into batches.
        """
        rows = list(zip(prediction.split(1), labels.split(1), strict=True))
        sums = [self.loss_sum(*row, label_smoothing=label_smoothing) for row in rows]
        return torch.stack([torch.stack(sums), torch.stack([self.count(row[1]) for row in rows])], dim=1)

    @abstractmethod
    def evaluated(self, prediction: Tensor, labels: Shaped[Tensor, "batch ..."]) -> Tensor:
        """What an evaluation keeps of a prediction, `[batch, ...]`."""

    @abstractmethod
    def compute_metrics(self, args: TaskArguments) -> Callable[[EvalPrediction], dict[str, float]]:
        """From what was kept and the labels to metrics with their intervals.

        Raises:
            InvalidArgumentError: if `args` names an unknown metric.
        """

    @abstractmethod
    def label_names(self, rows: TargetRows) -> tuple[str, ...]:
        """Names of the classes for the record; none for a task without."""

    @abstractmethod
    def rows_with_label(self, rows: TargetRows) -> list[int]:
        """Indices of the rows with a label, if only of one pixel."""

    @abstractmethod
    def fingerprint(self, rows: TargetRows) -> str:
        """Digest of the rows in order, inputs and labels."""
