"""What every transferability metric must hold; raises AssertionError where it does not."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch

from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.metrics.base import MeanOverRows, TransferabilityMetric
from hf_ctkd.probes.labelled import logits_of
from hf_ctkd.testing.promise import expect
from hf_ctkd.types import ModelOutputs, Needs


def example(separation: float, *, rows: int = 120, classes: int = 4, width: int = 12, seed: int = 0):
    """Outputs whose classes lie `separation` apart along axes of their own, and labels, some missing."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % classes
    features = separation * torch.eye(classes, width)[labels] + torch.randn(rows, width, generator=generator)
    head = torch.eye(width, classes + 2)
    labels[::15] = -100
    return ModelOutputs(features=features, logits=2 * features @ head), labels


def check_metric(
    metric: TransferabilityMetric, *, in_unit: Callable[[float], TransferabilityMetric] | None = None
) -> None:
    """Finite, deterministic; blind to row order, label names and unlabelled rows; separated classes score higher.

    The unit of the features, and a 16-bit autocast around the call, change nothing either.

    Args:
        metric: the metric.
        in_unit: for a metric that holds features of its own: the same metric for features times a factor.
    """
    expect(
        bool(metric.name and metric.citation) and isinstance(metric.needs, Needs),
        "`name`, `citation` and `needs` must be set",
    )
    outputs, labels = example(2.0)
    score = metric.score(outputs, labels)
    expect(isinstance(score, float) and math.isfinite(score), "the score must be a finite float")
    expect(metric.score(outputs, labels) == score, "not deterministic")

    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    _same(metric.score(outputs.select(shuffled), labels[shuffled]), score, "depends on the order of rows")
    renamed = torch.where(labels == -100, labels, torch.tensor([9, 0, 7, 2])[labels.clamp_min(0)])
    _same(metric.score(outputs, renamed), score, "depends on the names of classes")
    _same(metric.score(outputs.select(labels != -100), labels[labels != -100]), score, "reads unlabelled rows")

    for factor in (2.0**-10, 2.0**10):  # powers of two, which leave the rounding as it is
        rescaled = metric if in_unit is None else in_unit(factor)
        score_in_unit = rescaled.score(replace(outputs, features=factor * outputs.features), labels)
        _same(score_in_unit, score, "depends on the unit of the features")
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype):
            _same(metric.score(outputs, labels), score, f"depends on autocast to {dtype}")

    if isinstance(metric, MeanOverRows):
        values = metric.row_values(outputs.select(shuffled), labels[shuffled])
        expect(bool((values.isnan() == (labels[shuffled] == -100)).all()), "`row_values` must be NaN without a label")
        _same(float(values.nanmean()), score, "the mean of `row_values` is not the score")

    ordered = [metric.score(*example(separation)) for separation in (0.0, 1.0, 2.0, 4.0)]
    expect(ordered == sorted(ordered) and ordered[0] < ordered[-1], f"separation does not pay: {ordered}")
    _check_errors(metric, outputs, labels)


def _same(value: float, expected: float, complaint: str) -> None:
    expect(math.isclose(value, expected, rel_tol=1e-05, abs_tol=1e-06), f"{complaint}: {value} != {expected}")


def _check_errors(metric: TransferabilityMetric, outputs: ModelOutputs, labels: torch.Tensor) -> None:
    features, logits = outputs.features.clone(), logits_of(outputs).clone()
    features[1, 0] = logits[1, 0] = float("nan")
    spoiled = ModelOutputs(features, logits)
    _raises(InvalidArgumentError, "finite", lambda: metric.score(spoiled, labels))
    _raises(DatasetError, "one class", lambda: metric.score(outputs, labels.clamp_max(0)))
    _raises(DatasetError, "No row has a label", lambda: metric.score(outputs, torch.full_like(labels, -100)))
    _raises(InvalidArgumentError, "`labels`", lambda: metric.score(outputs, labels[:-1]))
    headless = ModelOutputs(outputs.features)
    if Needs.LOGITS in metric.needs:
        _raises(InvalidArgumentError, "no logits", lambda: metric.score(headless, labels))
    else:
        expect(math.isfinite(metric.score(headless, labels)), "a headless teacher must get a finite score")


def _raises(kind: type[Exception], words: str, call) -> None:
    try:
        call()
    except kind as error:
        expect(words in str(error), f"{words!r} is missing in: {error}")
    else:
        raise AssertionError(f"no {kind.__name__} about {words!r}")
