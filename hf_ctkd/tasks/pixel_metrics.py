"""How good a student is that says something of every pixel, with bootstrap intervals over images."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int
from transformers import EvalPrediction

from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.tasks.evaluation import interval_entries, percentiles
from hf_ctkd.types import UNLABELLED

Measure = Callable[[np.ndarray], np.ndarray]
"""From sums over images `[..., statistics]` to values `[...]`."""


class PixelMetrics(ABC):
    """A `compute_metrics` that sums a few statistics over the labelled pixels of every image.

    Sums over images are all that the metrics read, so that a bootstrap over images costs next to nothing.

    Args:
        names: of the metrics.
        resamples: of the bootstrap; 0 leaves the intervals out.
        seed: of the bootstrap.

    Raises:
        InvalidArgumentError: a name that is not on offer.
    """

    measures: ClassVar[Mapping[str, Measure]]

    def __init__(self, names: Sequence[str], *, resamples: int, seed: int) -> None:
        for name in names:
            if name not in self.measures:
                raise InvalidArgumentError(
                    f"`metrics` must be among {', '.join(self.measures)} for such a student, got {name!r}."
                )
        self.names = tuple(names)
        self.resamples = resamples
        self.seed = seed

    @abstractmethod
    def statistics(self, predictions: np.ndarray, references: np.ndarray) -> np.ndarray:
        """Sums over the labelled pixels of each image, `[rows, statistics]`; all 0 for one without any."""

    def __call__(self, prediction: EvalPrediction) -> dict[str, float]:
        """Every metric under its name, its interval beside it as `_low` and `_high`.

        Raises:
            DatasetError: if no pixel has a label.
        """
        rows = self.statistics(np.asarray(prediction.predictions), np.asarray(prediction.label_ids))
        rows = rows[rows.any(axis=1)]
        if not len(rows):
            raise DatasetError("`eval_dataset` must have labelled pixels, but has none. Evaluate on other rows.")
        generator = np.random.default_rng(self.seed)
        drawn = generator.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=self.resamples) @ rows
        metrics: dict[str, float] = {}
        for name in self.names:
            measure = self.measures[name]
            metrics[name] = float(measure(rows.sum(axis=0)))
            if self.resamples:
                metrics |= interval_entries(name, percentiles(measure(drawn)))
        return metrics


def _mean_iou(sums: np.ndarray) -> np.ndarray:
    both, predicted, referred = np.split(sums, 3, axis=-1)
    union = predicted + referred - both
    share = np.where(union > 0, both / np.maximum(union, 1), 0.0)
    return share.sum(axis=-1) / np.maximum((union > 0).sum(axis=-1), 1)


def _pixel_accuracy(sums: np.ndarray) -> np.ndarray:
    both, _, referred = np.split(sums, 3, axis=-1)
    return both.sum(axis=-1) / np.maximum(referred.sum(axis=-1), 1)


class SegmentationMetrics(PixelMetrics):
    """Mean intersection over union, over the classes that occur, and the share of pixels in the right class.

    Args:
        names: of the metrics.
        classes: their number.
        resamples: as in `PixelMetrics`.
        seed: as in `PixelMetrics`.

    Example:
        >>> metrics = SegmentationMetrics(["mean_iou", "pixel_accuracy"], classes=3, resamples=0, seed=0)
        >>> metrics(EvalPrediction(np.array([[[0, 1, 1, 1]]]), np.array([[[0, 0, 1, -100]]])))
        {'mean_iou': 0.5, 'pixel_accuracy': 0.6666666666666666}
    """

    measures: ClassVar[Mapping[str, Measure]] = {"mean_iou": _mean_iou, "pixel_accuracy": _pixel_accuracy}

    def __init__(self, names: Sequence[str], *, classes: int, resamples: int, seed: int) -> None:
        super().__init__(names, resamples=resamples, seed=seed)
        self.classes = classes

    def statistics(
        self, predictions: Int[np.ndarray, "rows height width"], references: Int[np.ndarray, "rows height width"]
    ) -> Int[np.ndarray, "rows statistics"]:
        """Pixels of each class in both, in the prediction and in the reference."""
        counts = []
        for predicted, referred in zip(predictions, references, strict=True):
            labelled = referred != UNLABELLED
            both = predicted[labelled & (predicted == referred)]
            parts = (both, predicted[labelled], referred[labelled])
            counts.append(np.concatenate([np.bincount(part, minlength=self.classes) for part in parts]))
        return np.stack(counts)


class DepthMetrics(PixelMetrics):
    """Mean of the absolute error over the depth, and root of the mean square error in metres.

    Args:
        names: as in `PixelMetrics`.
        resamples: as in `PixelMetrics`.
        seed: as in `PixelMetrics`.

    Example:
        >>> metrics = DepthMetrics(["abs_rel", "rmse"], resamples=0, seed=0)
        >>> metrics(EvalPrediction(np.array([[[1.0, 3.0, 9.0]]]), np.array([[[2.0, 2.0, 0.0]]])))
        {'abs_rel': 0.5, 'rmse': 1.0}
    """

    measures: ClassVar[Mapping[str, Measure]] = {
        "abs_rel": lambda sums: sums[..., 1] / np.maximum(sums[..., 0], 1),
        "rmse": lambda sums: np.sqrt(sums[..., 2] / np.maximum(sums[..., 0], 1)),
    }

    def statistics(
        self, predictions: Float[np.ndarray, "rows height width"], references: Float[np.ndarray, "rows height width"]
    ) -> Float[np.ndarray, "rows statistics"]:
        """Pixels, their relative errors and their squared errors."""
        labelled = references > 0
        error = np.where(labelled, predictions - references, 0.0).astype(np.float64)
        relative = np.abs(error) / np.where(labelled, references, 1.0)
        return np.stack([part.sum(axis=(1, 2)) for part in (labelled.astype(np.float64), relative, error**2)], axis=1)
