"""How good and how fast a student is: metrics with confidence intervals, and rows a second."""

import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import evaluate
import numpy as np
import torch
from evaluate.utils.logging import disable_progress_bar
from jaxtyping import Float
from sklearn.metrics import accuracy_score, f1_score
from torch import Tensor
from transformers import EvalPrediction

from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.records import Confidence, Proportion
from hf_ctkd.types import UNLABELLED

_FEATURES = datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")})
_SLOW_RESAMPLES = 100


class Accuracy(evaluate.Metric):
    """Share of rows predicted right, as an `evaluate.Metric` that needs no network.

    Example:
        >>> Accuracy().compute(predictions=[0, 1, 1, 0], references=[0, 1, 0, 0])
        {'accuracy': 0.75}
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(description="Share of rows predicted right.", citation="", features=_FEATURES)

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        return {"accuracy": float(accuracy_score(references, predictions))}


class MacroF1(evaluate.Metric):
    """F1 averaged over classes, each counting alike, as an `evaluate.Metric` that needs no network.

    Example:
        >>> MacroF1().compute(predictions=[0, 1, 1, 1], references=[0, 1, 1, 1])
        {'macro_f1': 1.0}
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(description="F1 averaged over classes.", citation="", features=_FEATURES)

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        return {"macro_f1": float(f1_score(references, predictions, average="macro", zero_division=0.0))}


def _accuracy(references: np.ndarray, predictions: np.ndarray) -> float:
    return float((references == predictions).mean())


def _macro_f1(references: np.ndarray, predictions: np.ndarray) -> float:
    """As scikit-learn's over the classes that occur, from counts alone: it runs once a resample."""
    classes = int(max(references.max(), predictions.max())) + 1
    right = np.bincount(references[references == predictions], minlength=classes)
    counts = np.bincount(references, minlength=classes) + np.bincount(predictions, minlength=classes)
    return float((2 * right[counts > 0] / counts[counts > 0]).mean())


_BUILT_IN: dict[str, tuple[type[evaluate.Metric], Callable[[np.ndarray, np.ndarray], float]]] = {
    "accuracy": (Accuracy, _accuracy),
    "macro_f1": (MacroF1, _macro_f1),
}


def load_metric(name: str) -> evaluate.Metric:
    """A metric of class predictions: `accuracy` and `macro_f1` are built in, any other name comes from the Hub.

    Raises:
        InvalidArgumentError: if the name is blank, or the Hub has no such metric or cannot be reached.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name][0]()
    if not name.strip(" /"):
        raise InvalidArgumentError(f"`metrics` must hold names, got {name!r}. Use {' or '.join(_BUILT_IN)}.")
    try:
        return evaluate.load(name)
    except (FileNotFoundError, ConnectionError, OSError, ImportError) as error:
        raise InvalidArgumentError(
            f"`metrics` names {name!r}, which could not be loaded from the Hub ({type(error).__name__}). "
            f"Offline, use {' or '.join(_BUILT_IN)}."
        ) from error


def confidence(
    name: str, predictions: np.ndarray, references: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> Confidence:
    """A metric with its 95 % interval over the evaluation rows: by Wilson for accuracy, else a percentile bootstrap.

    Metrics loaded from the Hub are recomputed at most 100 times, macro F1 `resamples` times. A bootstrap gives no
    interval where every resample has the same value, see `interval`.

    Args:
        name: of the metric; see `load_metric`.
        predictions: predicted class ids, `[rows]`.
        references: true class ids, `[rows]`.
        resamples: of the rows, 1 or more.
        seed: of the resampling.

    Reference:
        Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 13.
    """
    if name == "accuracy":
        return Proportion(int((references == predictions).sum()), len(references)).confidence()
    statistic = class_statistic(name)
    value = _through_evaluate(load_metric(name))(references, predictions)
    count = min(resamples, statistic.most_resamples)
    ends = interval(statistic.compute, (references, predictions), resamples=count, seed=seed)
    return Confidence(value, *(ends or ()))


@dataclass(frozen=True)
class RowStatistic:
    """A metric as a function that is called once a resample.

    Args:
        compute: the metric of labels and predictions, one entry a row each.
        most_resamples: that its time allows.
    """

    compute: Callable[[np.ndarray, np.ndarray], float]
    most_resamples: int = sys.maxsize


def class_statistic(name: str) -> RowStatistic:
    """A metric of class ids for a bootstrap: the built-in ones from counts alone, the others through `evaluate`.

    Args:
        name: of the metric; see `load_metric`.

    Raises:
        InvalidArgumentError: as for `load_metric`.
    """
    if name in _BUILT_IN:
        return RowStatistic(_BUILT_IN[name][1])
    return RowStatistic(_through_evaluate(load_metric(name)), _SLOW_RESAMPLES)


def _through_evaluate(metric: evaluate.Metric) -> Callable[[np.ndarray, np.ndarray], float]:
    disable_progress_bar()

    def compute(references: np.ndarray, predictions: np.ndarray) -> float:
        return float(next(iter((metric.compute(predictions=predictions, references=references) or {}).values())))

    return compute


def interval(
    statistic: Callable[..., float], arrays: Sequence[np.ndarray], *, resamples: int, seed: int = 0
) -> tuple[float, float] | None:
    """The 95 % percentile bootstrap interval of a statistic over rows; None where all resamples give the same value.

    That they do so, as for rows that are all right, does not mean that other rows would: it is no interval.

    Args:
        statistic: of the arrays.
        arrays: one entry a row each, resampled together.
        resamples: of the rows, 1 or more.
        seed: of the resampling.

    Example:
        >>> interval(lambda values: float(values.mean()), (np.arange(100.0),), resamples=1000)
        (43.819250000000004, 54.950500000000005)
    """
    # Not scipy.stats.bootstrap: paired=True with method="percentile" gives the same interval to the last digit, but of
    # 1000 resamples of 30 000 rows it took 5.5 s in one batch of 240 MB and 0.9 s row by row, where this takes 0.5 s;
    # it refuses a single row, and arrays of more than one dimension only go in through an array of indices.
    generator = np.random.default_rng(seed)
    rows = len(arrays[0])
    values = []
    for _ in range(resamples):
        drawn = generator.integers(rows, size=rows)
        values.append(statistic(*(array[drawn] for array in arrays)))
    return percentiles(np.array(values))


def percentiles(values: Float[np.ndarray, " resamples"]) -> tuple[float, float] | None:
    """Between which the middle 95 % of the values of resamples lie; None where all are the same.

    Args:
        values: of a statistic.
    """
    low, high = np.percentile(values, [2.5, 97.5])
    return None if np.ptp(values) == 0 else (float(low), float(high))


class ClassificationMetrics:
    """The default `compute_metrics`: every metric under its name, its interval beside it as `_low` and `_high`.

    Args:
        names: of the metrics.
        resamples: of the bootstrap; 0 leaves the intervals out.
        seed: of the bootstrap.
    """

    def __init__(self, names: Sequence[str], *, resamples: int, seed: int) -> None:
        self.names = tuple(names)
        self.resamples = resamples
        self.seed = seed

    def __call__(self, prediction: EvalPrediction) -> dict[str, float]:
        """Metrics of the labelled rows."""
        references = np.asarray(prediction.label_ids)
        labelled = references != UNLABELLED
        predictions = np.asarray(prediction.predictions)[labelled].argmax(axis=1)
        metrics: dict[str, float] = {}
        for name in self.names:
            if self.resamples:
                measured = confidence(name, predictions, references[labelled], resamples=self.resamples, seed=self.seed)
                metrics |= {name: measured.value, **interval_entries(name, measured.interval)}
            else:
                computed = load_metric(name).compute(predictions=predictions, references=references[labelled]) or {}
                metrics[name] = float(next(iter(computed.values())))
        return metrics


class RowMetrics:
    """A `compute_metrics` for labels that are vectors of numbers: every metric, its interval beside it.

    Args:
        measures: the metrics on offer, each of labels and predictions `[rows, outputs]`.
        names: of those to compute.
        resamples: of the bootstrap; 0 leaves the intervals out.
        seed: of the bootstrap.

    Raises:
        InvalidArgumentError: a name that is not on offer.
    """

    def __init__(
        self,
        measures: Mapping[str, Callable[[np.ndarray, np.ndarray], float]],
        names: Sequence[str],
        *,
        resamples: int,
        seed: int,
    ) -> None:
        for name in names:
            if name not in measures:
                raise InvalidArgumentError(
                    f"`metrics` must be among {', '.join(measures)} for such a student, got {name!r}."
                )
        self.measures = {name: measures[name] for name in names}
        self.resamples = resamples
        self.seed = seed

    def __call__(self, prediction: EvalPrediction) -> dict[str, float]:
        """Metrics of the labelled rows; those without a label hold NaN.

        Raises:
            DatasetError: if no row has a label.
        """
        labels, predictions = np.asarray(prediction.label_ids), np.asarray(prediction.predictions)
        labelled = ~np.isnan(labels).any(axis=1)
        if not labelled.any():
            raise DatasetError("`eval_dataset` must have labelled rows, but has none. Evaluate on other rows.")
        arrays = labels[labelled].astype(np.float64), predictions[labelled].astype(np.float64)
        metrics: dict[str, float] = {}
        for name, measure in self.measures.items():
            metrics[name] = measure(*arrays)
            if self.resamples:
                metrics |= interval_entries(name, interval(measure, arrays, resamples=self.resamples, seed=self.seed))
        return metrics


def interval_entries(name: str, ends: tuple[float, float] | None) -> dict[str, float]:
    """The interval of a metric as entries of what a `compute_metrics` gives, which `as_confidences` reads.

    Args:
        name: of the metric.
        ends: of its interval; None without one.
    """
    return {} if ends is None else {f"{name}_low": ends[0], f"{name}_high": ends[1]}


def as_confidences(metrics: Mapping[str, Any]) -> dict[str, Confidence]:
    """What a `compute_metrics` gave, as values; those of `name_low` and `name_high` are the interval of `name`.

    Anything but a finite number is left out.

    Args:
        metrics: by name, without the prefix of an evaluation.

    Example:
        >>> as_confidences({"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6})
        {'accuracy': Confidence(value=0.5, low=0.4, high=0.6, level=0.95)}
    """
    numbers = {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
    intervals = {name: (f"{name}_low", f"{name}_high") for name in numbers}
    intervals = {name: ends for name, ends in intervals.items() if numbers.keys() >= set(ends)}
    inside = {end for ends in intervals.values() for end in ends}
    return {
        name: Confidence(value, *(numbers[end] for end in intervals.get(name, ())))
        for name, value in numbers.items()
        if name not in inside
    }


@torch.no_grad()
def rows_per_second(
    run: Callable[[Mapping[str, Tensor]], object], batch: Mapping[str, Tensor], *, repeats: int = 5
) -> float:
    """Median speed of a forward pass over a preprocessed batch, after one pass to warm up.

    Args:
        run: the forward pass, in evaluation mode.
        batch: its input, already on the device.
        repeats: timed passes.
    """
    rows = len(next(iter(batch.values())))
    run(batch)
    seconds = []
    for _ in range(repeats):
        _synchronise()
        start = time.perf_counter()
        run(batch)
        _synchronise()
        seconds.append(time.perf_counter() - start)
    return rows / statistics.median(seconds)


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
