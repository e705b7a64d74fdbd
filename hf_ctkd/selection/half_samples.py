"""How much a score would differ on other rows: the metric on random halves of the rows, the same for all teachers."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Int
from torch import Tensor

from hf_ctkd.metrics import TransferabilityMetric
from hf_ctkd.selection.sampling import stratified
from hf_ctkd.types import ModelOutputs, Needs

HALVES = 12
"""Halves of each set of rows; a metric is computed once for each, on half as many rows."""


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
