"""Intervals of scores that are means over rows, by a bootstrap of the rows that fits nothing again."""

from collections.abc import Iterable
from itertools import takewhile

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

LEVEL = 0.95
"""Share of draws of rows whose score lies in the interval."""
_RESAMPLES = 1000


def interval_of(values: Float[Tensor, " rows"], labels: Int[Tensor, " rows"]) -> tuple[float, float]:
    """The interval that holds the mean over other rows with a probability of 95 %.

    It covers the draw of the rows that are judged. Probes and costs are not fitted again, so it is somewhat too narrow
    for those of other rows, the more so the fewer rows a class has.

    Rows are drawn within their classes, since the rows of a selection are: n - 1 out of the n of each class, so that
    the spread is right for classes of few rows too.

    Args:
        values: of the rows, whose mean is the score; NaN for rows that are not judged.
        labels: class ids.

    Reference:
        @article{mccarthy1985bootstrap,
          title = {The Bootstrap and Finite Population Sampling},
          author = {McCarthy, Philip J. and Snowden, Cecelia B.},
          journal = {Vital and Health Statistics},
          volume = {2},
          number = {95},
          year = {1985}
        }
    """
    # scipy.stats.bootstrap was tried: it draws n of n rows, which halves the variance where classes have two.
    generator, judged = np.random.default_rng(0), torch.isfinite(values)
    rows, classes = values[judged].double().numpy(), labels.cpu()[judged].numpy()
    means = np.zeros(_RESAMPLES)
    for label in np.unique(classes):
        of_class = rows[classes == label]
        drawn = generator.integers(len(of_class), size=(_RESAMPLES, max(len(of_class) - 1, 1)))
        means += of_class[drawn].mean(axis=1) * (len(of_class) / len(rows))
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def count_tied(values: Iterable[Float[Tensor, " rows"] | None], labels: Int[Tensor, " rows"]) -> int | None:
    """The number of teachers, from the first on, that cannot be told apart from the first.

    Teachers are compared by their differences on the same rows: two that find the same rows hard differ by less than
    their intervals suggest. Each is compared with the first alone, at 95 %.

    Args:
        values: of each teacher, best first, read one by one; None where they are not known.
        labels: class ids.

    Returns:
        At least 1; None if the values of the first are not known.
    """
    remaining = iter(values)
    best = next(remaining, None)
    if best is None:
        return None
    differences = (None if others is None else best - others for others in remaining)
    tied = takewhile(lambda gaps: gaps is not None and interval_of(gaps, labels)[0] <= 0, differences)
    return 1 + sum(1 for _ in tied)
