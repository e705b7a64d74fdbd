"""How much the difference of two teachers' scores would differ on other rows.

A metric that is a mean over rows tells it by its values on the rows, any other by its scores on random halves of them,
for each of which it is computed again.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Int
from torch import Tensor

from hf_ctkd.metrics import TransferabilityMetric
from hf_ctkd.selection.sampling import stratified
from hf_ctkd.types import ModelOutputs, Needs

HALVES = 12
"""Halves of each set of rows; a metric is computed once for each, on half as many rows."""
REFITTED = 2.25
"""Variance of a cross-fitted mean in units of that over its rows, since other rows would also give other fits: one, and
with five folds, as probes have by default, the ratio 5 / 4 of all rows to those of a fit (Nadeau and Bengio)."""


def error_from_rows(differences: np.ndarray) -> float:
    """Standard error of the difference of two scores that are means over rows.

    Nothing is fitted again: see `REFITTED`. `python -m benchmarks.budget` compares it with other draws of rows.

    Args:
        differences: `[rows]`, of the two teachers' values, at least two.

    Reference:
        @article{nadeau2003inference,
          title = {Inference for the Generalization Error},
          author = {Nadeau, Claude and Bengio, Yoshua},
          journal = {Machine Learning},
          volume = {52},
          pages = {239--281},
          year = {2003}
        }
    """
    return math.sqrt(REFITTED * float(differences.var(ddof=1)) / len(differences))


def error_from_halves(differences: np.ndarray, labels: Int[Tensor, " rows"]) -> float:
    """Standard error of the difference of two scores, from their differences on random halves of the rows.

    Args:
        differences: `[halves]`, at least two.
        labels: class ids of the rows.
    """
    half = half_size(labels)
    return math.sqrt(half / max(len(labels) - half, 1) * float(differences.var(ddof=1)))


@dataclass(frozen=True)
class HalfSample(TransferabilityMetric):
    """A metric on a random half of the rows, stratified by class.

    The spread of such scores around their mean estimates the standard error of the score on all rows, whatever the
    metric: sampling without replacement, since rows drawn twice would be in a fold for fitting and in one for testing
    at once, which makes a bootstrap of cross-fitted scores too optimistic. The halves are the same for all teachers,
    so that differences between teachers have their own, smaller, standard error.

    Args:
        metric: to be computed.
        seed: of the draw; halves with other seeds are independent.

    Reference:
        @article{shao1989general,
          title = {A General Theory for Jackknife Variance Estimation},
          author = {Shao, Jun and Wu, C. F. Jeff},
          journal = {The Annals of Statistics},
          volume = {17},
          number = {3},
          pages = {1176--1197},
          year = {1989}
        }
    """

    metric: TransferabilityMetric
    seed: int
    citation: ClassVar[str] = "Shao and Wu, A General Theory for Jackknife Variance Estimation, 1989"

    @property
    def name(self) -> str:
        """That of the metric, and the number of the half."""
        return f"{self.metric.name} on half {self.seed}"

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        """What the metric needs."""
        return self.metric.needs

    def score(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> float:
        """The metric on the half; see `TransferabilityMetric.score`."""
        half = stratified(labels, half_size(labels), self.seed)
        return self.metric.score(outputs.select(half), labels[half])

    def of_rows(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> float:
        """The metric on rows that are a half already."""
        return self.metric.of_rows(outputs, labels)


def half_size(labels: Int[Tensor, " rows"]) -> int:
    """Number of rows of a half: at least two for each class.

    Args:
        labels: class ids.
    """
    return max(len(labels) // 2, 2 * len(labels.unique()))
