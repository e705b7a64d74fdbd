"""One number a row."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import EvalPrediction

from hf_ctkd.data import Modality, TargetRows
from hf_ctkd.errors import DatasetError
from hf_ctkd.losses import DistillationLoss, RegressionProbeLoss
from hf_ctkd.records import TaskWords
from hf_ctkd.tasks.base import ProblemType, StudentTask, TaskArguments
from hf_ctkd.tasks.evaluation import RowMetrics
from hf_ctkd.tasks.examples import example_code, example_packages


class Regression(StudentTask):
    """A student that estimates a number (`num_labels=1, problem_type="regression"`).

    The label column holds numbers; None and NaN mean "unlabelled". The task loss is the mean squared error over
    labelled rows, in the units of the column as in transformers: where these are far from 1, divide the column by its
    standard deviation, or the learning rate has to make up for it.
    """

    metric_names: ClassVar[tuple[str, ...]] = ("rmse", "mae", "r2", "pearson")
    label_columns: ClassVar[tuple[str, ...]] = ("label", "labels", "target", "score", "value", "rating")
    problem_type: ClassVar[ProblemType | None] = "regression"

    def read(self, value: Any, rows: TargetRows, where: str) -> np.ndarray | None:  # noqa: ANN401 (as in the parent)
        """One number."""
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise DatasetError(f"{where} must hold a number, got {value!r}. Name another column with `label_column`.")
        if np.isnan(value):
            return None
        if np.isinf(value):
            raise DatasetError(f"{where} must hold a finite number, got {value}. Use None for a row without a label.")
        return np.array([value], np.float32)

    def row_losses(
        self, prediction: Float[Tensor, "batch 1"], labels: Float[Tensor, "batch 1"], *, label_smoothing: float = 0.0
    ) -> Float[Tensor, " batch"]:
        """Squared error."""
        # NaN goes before the loss, not after it: the gradient of a masked NaN is NaN.
        losses = (prediction.float() - labels.nan_to_num()).square()[:, 0]
        return torch.where(self.labelled(labels), losses, 0.0)

    def default_loss(self) -> DistillationLoss:
        """A ridge probe of the number."""
        return RegressionProbeLoss("identity")

    def compute_metrics(self, args: TaskArguments) -> Callable[[EvalPrediction], dict[str, float]]:
        """Errors in the units of the labels, explained variance, correlation."""
        return RowMetrics(
            _MEASURES, args.metrics or self.metric_names, resamples=args.bootstrap_resamples, seed=args.seed
        )

    def words(self, modality: Modality) -> TaskWords:
        """A number for images or texts."""
        return TaskWords(
            summary=f"estimates a number for {modality}s",
            limitation="Its estimates are in the units of its training labels and have no bounds: on inputs unlike "
            "those that it was trained on they may be off by any amount.",
            example=example_code(modality, self.auto_class(modality).__name__, "print(float(outputs.logits[0, 0]))"),
            packages=example_packages(modality),
            one_class_a_row=False,
        )


def _rmse(labels: np.ndarray, estimates: np.ndarray) -> float:
    return float(np.sqrt(np.square(labels - estimates).mean()))


def _mae(labels: np.ndarray, estimates: np.ndarray) -> float:
    return float(np.abs(labels - estimates).mean())


def _r2(labels: np.ndarray, estimates: np.ndarray) -> float:
    """0 where all labels are the same: a resample of few rows may be."""
    total = np.square(labels - labels.mean()).sum()
    return float(1 - np.square(labels - estimates).sum() / total) if total else 0.0


def _pearson(labels: np.ndarray, estimates: np.ndarray) -> float:
    """0 where labels or estimates are all the same."""
    left, right = labels - labels.mean(), estimates - estimates.mean()
    scale = np.sqrt(np.square(left).sum() * np.square(right).sum())
    return float((left * right).sum() / scale) if scale else 0.0


_MEASURES: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "rmse": _rmse,
    "mae": _mae,
    "r2": _r2,
    "pearson": _pearson,
}
