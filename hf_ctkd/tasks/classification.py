"""One class a row: images and texts alike."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import datasets
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from transformers import EvalPrediction

from hf_ctkd.data import Modality, Preprocessor, RowInput, TargetRows
from hf_ctkd.losses import DistillationLoss, RowTransportLoss
from hf_ctkd.records import Reliability, TaskWords
from hf_ctkd.tasks.base import Label, ProblemType, StudentTask, TaskArguments
from hf_ctkd.tasks.evaluation import ClassificationMetrics
from hf_ctkd.tasks.examples import example_code, example_packages
from hf_ctkd.tasks.reliability import reliability_of_labelled
from hf_ctkd.types import UNLABELLED, Needs

_PRINT = "print(model.config.id2label[int(outputs.logits.argmax())])"


class Classification(StudentTask):
    """A student that puts every row into one class.

    Labels are class ids, whole numbers or names; None, -1 and -100 mean "unlabelled". The task loss is the mean
    cross-entropy over labelled rows.
    """

    metric_names: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1")
    problem_type: ClassVar[ProblemType | None] = "single_label_classification"
    loss_labels = "class"
    smooths_labels: ClassVar[bool] = True

    def read(self, value: int | None, rows: TargetRows, where: str) -> np.ndarray | None:
        """A class id; `TargetRows.of` has checked it."""
        return None if value is None or value in (-1, UNLABELLED) else np.array(value)

    def rows(
        self,
        dataset: datasets.Dataset,
        args: TaskArguments,
        *,
        like: TargetRows | None = None,
        evaluation: bool = False,
    ) -> TargetRows:
        """Rows with a column of classes, all of them checked at once; see `StudentTask.rows`."""
        return TargetRows.of(
            dataset,
            input_column=args.input_column if like is None else like.input_columns,
            label_column=args.label_column if like is None else like.label_column,
            skip_bad_rows=args.skip_bad_rows,
            evaluation=evaluation,
            label_space=None if like is None else like.label_space,
        )

    def rows_to_predict(self, dataset: datasets.Dataset, like: TargetRows) -> TargetRows:
        """Rows with or without class ids; see `StudentTask.rows_to_predict`."""
        return TargetRows.to_predict(dataset, like)

    def default_loss(self) -> DistillationLoss:
        """Transport of rows onto classes: what does best over the cells of the evidence suite."""
        return RowTransportLoss()

    def check_loss(self, loss: DistillationLoss, rows: TargetRows | None) -> None:
        """A loss that fits needs two rows of every class; see `StudentTask.check_loss`."""
        super().check_loss(loss, rows)
        if Needs.FIT in loss.needs and rows is not None:
            rows.require_two_rows_a_class()

    def label(self, rows: TargetRows, number: int, content: RowInput | None = None) -> Label:
        """A class id, -100 without one."""
        return int(rows.labels[number])

    def collate(self, labels: Sequence[Label], view: Preprocessor, inputs: dict[str, Tensor]) -> Tensor:
        """Class ids `[batch]`."""
        return torch.tensor(labels)

    def labelled(self, labels: Shaped[Tensor, "batch ..."]) -> Bool[Tensor, " batch"]:
        """Those with a class."""
        return labels != UNLABELLED

    def row_labels(self, labels: Shaped[Tensor, "batch ..."]) -> Int[Tensor, " batch"]:
        """The labels as they are."""
        return labels

    def has_labels(self, rows: TargetRows) -> bool:
        """Whether any row has a class."""
        return len(rows.labelled) > 0

    def rows_with_label(self, rows: TargetRows) -> list[int]:
        """Those with a class."""
        return rows.labelled.tolist()

    def row_losses(
        self, prediction: Tensor, labels: Shaped[Tensor, "batch ..."], *, label_smoothing: float = 0.0
    ) -> Float[Tensor, " batch"]:
        """Cross-entropy."""
        return F.cross_entropy(
            prediction.float(), labels, reduction="none", label_smoothing=label_smoothing, ignore_index=UNLABELLED
        )

    def compute_metrics(self, args: TaskArguments) -> Callable[[EvalPrediction], dict[str, float]]:
        """Accuracy and macro F1, or any other of `evaluate`."""
        return ClassificationMetrics(
            args.metrics or self.metric_names, resamples=args.bootstrap_resamples, seed=args.seed
        )

    def reliability(self, prediction: EvalPrediction) -> Reliability | None:
        """Of the probability of the predicted class; see `StudentTask.reliability`."""
        return reliability_of_labelled(prediction, np.asarray(prediction.label_ids) != UNLABELLED)

    def words(self, modality: Modality) -> TaskWords:
        """Images or texts into one of several classes."""
        return TaskWords(
            summary=f"sorts {modality}s into {{classes}}",
            limitation="It knows {count} classes and puts every input into one, also what belongs to none.",
            example=example_code(modality, self.auto_class(modality).__name__, _PRINT),
            packages=example_packages(modality),
        )

    def fingerprint(self, rows: TargetRows) -> str:
        """Of inputs and class ids."""
        return rows.fingerprint
