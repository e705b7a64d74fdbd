"""How well a student's probabilities agree with what happens: what a reliability diagram is drawn from."""

import math
from dataclasses import dataclass

from hf_ctkd.errors import InvalidArgumentError

RELIABILITY_BINS = 15
"""Of equal width, as in Guo et al., arXiv:1706.04599."""


@dataclass(frozen=True)
class ReliabilityBin:
    """Decisions whose probability lies in one bin.

    Args:
        confidence: mean of their probabilities.
        accuracy: share of them that is right; of rows with several classes, share that has the class.
        count: how many there are, 1 or more.

    Raises:
        InvalidArgumentError: if a share is out of [0, 1], or there are no decisions.
    """

    confidence: float
    accuracy: float
    count: int

    def __post_init__(self) -> None:
        for name, share in (("confidence", self.confidence), ("accuracy", self.accuracy)):
            if not 0 <= share <= 1:
                raise InvalidArgumentError(f"`{name}` must lie in [0, 1], got {share}.")
        if self.count < 1:
            raise InvalidArgumentError(f"`count` must be at least 1, got {self.count}. Leave out empty bins.")


@dataclass(frozen=True)
class Reliability:
    """How well probabilities agree with what happens.

    A decision is the class that a row is put into, or for students that give a row several classes whether it gets one
    of them.

    Args:
        error: expected calibration error, in [0, 1]: the mean gap between probability and accuracy over the bins, each
            weighted by its decisions.
        log_loss: mean negative log-likelihood of the labels, in nats; a proper score, unlike the error.
        bins: those that hold any decision, from low to high probability.
        bin_count: number of bins of equal width between 0 and 1, empty ones included.

    Raises:
        InvalidArgumentError: if the error is out of [0, 1], or there are no bins or more than there may be.
    """

    error: float
    log_loss: float
    bins: tuple[ReliabilityBin, ...]
    bin_count: int = RELIABILITY_BINS

    def __post_init__(self) -> None:
        if not 0 <= self.error <= 1:
            raise InvalidArgumentError(f"`error` must lie in [0, 1], got {self.error}.")
        if not 1 <= len(self.bins) <= self.bin_count:
            raise InvalidArgumentError(f"`bins` must be 1 to `bin_count` = {self.bin_count}, got {len(self.bins)}.")

    @property
    def decisions(self) -> int:
        """How many were judged."""
        return sum(each.count for each in self.bins)

    @property
    def confidence(self) -> float:
        """Mean probability of the decisions."""
        return sum(each.count * each.confidence for each in self.bins) / self.decisions

    @property
    def accuracy(self) -> float:
        """Share of the decisions that is right."""
        return sum(each.count * each.accuracy for each in self.bins) / self.decisions

    @property
    def error_by_chance(self) -> float:
        """The error that is expected of probabilities that are right, as a bin of few decisions rarely hits its mean.

        Each bin has the mean absolute deviation of a binomial share, for decisions that do not depend on one another.
        """
        from scipy.stats import binom  # takes half a second, and few programs read this number

        total = 0.0
        for each in self.bins:
            above = math.floor(each.count * each.confidence) + 1
            # De Moivre's formula for E|right - count * confidence|; SciPy has no closed form of it.
            total += 2 * above * (1 - each.confidence) * float(binom.pmf(above, each.count, each.confidence))
        return total / self.decisions
