"""What a teacher is expected to add to a student, from its score and the outcomes of the evidence suite."""

import math
from dataclasses import dataclass

from hf_ctkd.errors import InvalidArgumentError

SLOPE = 48.4
INTERCEPT = 0.7
HALF_WIDTH = 7.1
"""Fitted by `python -m benchmarks.evidence gain`, whose section of `benchmarks/RESULTS.md` says how well."""
LARGEST_GAP = 0.39
"""Of the outcomes that the line was fitted to; nobody knows how it goes on."""
METRIC = "information_gain"
"""The score that the line was fitted to."""


@dataclass(frozen=True)
class ExpectedGain:
    """Points of accuracy by which a teacher is expected to improve a student over the same student without a teacher.

    The student without a teacher learns from the default loss of its own input features. The interval covers 95 % of
    the outcomes of tasks that the line was not fitted to.

    Args:
        points: the expectation.
        low: lower end of the interval.
        high: upper end of the interval.
        beyond: whether the teacher knows more beyond the student than any of those outcomes, whose last point this is.
    """

    points: float
    low: float
    high: float
    beyond: bool = False

    @property
    def short(self) -> str:
        """The points alone, for a table."""
        return f"{'more than ' if self.beyond else ''}{self.points:+.1f}"

    @property
    def interval(self) -> str:
        """From the lower end to the upper."""
        return f"{self.low:+.1f} or more" if self.beyond else f"{self.low:+.1f} to {self.high:+.1f}"

    def __str__(self) -> str:
        return f"{self.short} points ({self.interval})"


def expected_gain(score: float, baseline: float, labelled_share: float) -> ExpectedGain | None:
    """What distillation from a teacher is expected to add, before anything is trained.

    A teacher adds what it knows beyond the student, and rows without a label carry it: the gain grows with the
    difference of the two information gains times the share of rows without a label. The evidence suite holds students
    of up to a few hundred thousand parameters that start from nothing, on nine cells of pictures and texts, so take it
    as a guide, not a promise, elsewhere.

    Args:
        score: information gain of the teacher, at most 1.
        baseline: information gain of the student, or of its input features.
        labelled_share: rows with a label divided by all training rows, in (0, 1].

    Returns:
        None for a teacher that knows no more than the student, of which nothing is expected.

    Raises:
        InvalidArgumentError: if a number is not finite, or the share is out of range.

    Example:
        >>> str(expected_gain(score=0.7, baseline=0.6, labelled_share=0.1))
        '+5.1 points (-2.0 to +12.2)'
    """
    for name, value in (("score", score), ("baseline", baseline)):
        if not math.isfinite(value):
            raise InvalidArgumentError(f"`{name}` must be a finite information gain, got {value}. Score it again.")
    if not 0 < labelled_share <= 1:
        raise InvalidArgumentError(
            f"`labelled_share` must lie in (0, 1], got {labelled_share}. Divide the labelled rows by all rows."
        )
    if score <= baseline:
        return None
    gap = (score - baseline) * (1 - labelled_share)
    points = INTERCEPT + SLOPE * min(gap, LARGEST_GAP)
    return ExpectedGain(points, points - HALF_WIDTH, points + HALF_WIDTH, gap > LARGEST_GAP)
