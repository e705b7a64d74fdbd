"""Successive halving with confidence bounds: few rows for all teachers, more rows for those that may be the best."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

import numpy as np
from scipy.stats import t as student_t

from hf_ctkd.selection.budget import Limit, Meter

MARGIN = 0.01
"""Teachers are as good as each other if their scores, shares of 0 to 1, differ by no more than this."""
MARGIN_OF_SPREAD = 0.05
"""The same for scores on any other scale: part of their interquartile range over the teachers on the first set."""
CERTAINTY = 0.95
"""The race ends when the first teacher is within the margin of the best with this probability."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The score of one teacher on one set of rows.

    Args:
        score: higher is better.
        values: of the rows, or of random halves of them, the same for all teachers, whose differences between two
            teachers tell the error of the difference of their scores; NaN where there is none.
    """

    score: float
    values: np.ndarray


Evaluate = Callable[[Sequence[int], int, Callable[[], bool]], Iterator[tuple[int, Evaluation | None]]]
"""Evaluates teachers (by index) on a set (by number), all of them or until the function says that none may start any
more; gives the index and the evaluation of each in any order, None for a teacher that cannot be used."""

StandardError = Callable[[np.ndarray, int], float]
"""The standard error of the difference of two scores on a set (by number), from the differences of their values."""


@dataclass(frozen=True)
class RaceOutcome:
    """How a race ended.

    Args:
        order: indices of the teachers that were evaluated, best first: those with more rows before those with fewer.
        rungs: of each teacher in `order`, the number of its largest set of rows.
        probability: that the first is within `margin` of the best of those that were evaluated.
        stopped: "settled", "rows" after the last set of rows, or the limit that was reached; always the limit if it
            kept any teacher from being evaluated.
        margin: the difference of scores that was taken for none.
    """

    order: tuple[int, ...]
    rungs: tuple[int, ...]
    probability: float
    stopped: Literal["settled", "rows"] | Limit
    margin: float


@dataclass
class Race:
    """Teachers that are evaluated on nested sets of rows, each larger than the one before.

    After each set, teachers are dropped that are unlikely to be better than the first by more than the margin: the
    probabilities of all dropped ones add up to less than 1 - `CERTAINTY`. No more than half are dropped at a time.
    Where the budget does not suffice to evaluate the others on the next sets too, those with the lowest scores are
    dropped; the probability at the end accounts for them. The bounds hold for rows drawn like these; that a teacher
    improves more than others with the number of rows is beyond them.

    Args:
        sizes: numbers of rows of the sets, ascending.
        standard_error: of the difference of two scores.
        meter: of the budget.
        evaluate: one teacher after the other, or several at once; the outcome is the same unless time is limited.
        shares: whether scores are shares of 0 to 1, so that `MARGIN` is the margin; else it follows from their spread.

    Reference:
        @inproceedings{jamieson2016nonstochastic,
          title = {Non-stochastic Best Arm Identification and Hyperparameter Optimization},
          author = {Jamieson, Kevin and Talwalkar, Ameet},
          booktitle = {International Conference on Artificial Intelligence and Statistics},
          year = {2016}
        }
    """

    sizes: Sequence[int]
    standard_error: StandardError
    meter: Meter
    evaluate: Evaluate
    shares: bool = True
    _evaluations: dict[int, dict[int, Evaluation]] = field(init=False, default_factory=dict)
    _evaluated_rows: int = field(init=False, default=0)
    _evaluated_seconds: float = field(init=False, default=0.0)
    _limit: Limit | None = field(init=False, default=None)
    _unreached: set[int] = field(init=False, default_factory=set)

    def run(self, teachers: int) -> RaceOutcome:
        """Evaluate teachers until the first is settled, all rows are used, or a limit is reached.

        Args:
            teachers: their number; those that look best beforehand have the lowest indices.
        """
        running = list(range(teachers))
        self._unreached = set(running)
        for rung in range(len(self.sizes)):
            most = self._affordable(len(running), rung)
            if rung > 0 and most < 2:  # nothing to compare it with
                return self._outcome(self._limit or "rows")
            running = self._evaluate_best(running, rung, most)
            if self._settled(running, rung):
                return self._outcome("settled")
            self._limit = self.meter.reached(forwards=1) or self._limit
            if not running or self.meter.reached(forwards=1) is not None:
                return self._outcome(self._limit or "rows")
            running = self._survivors(running, rung)
        return self._outcome("rows")

    def _settled(self, running: list[int], rung: int) -> bool:
        """Whether the first is certain enough, and was the first on the set before too.

        On few rows teachers differ by how fast they improve with the number of rows, which no spread shows.
        """
        if not self._evaluations or self.probability() < CERTAINTY:
            return False
        if len(self._evaluations) == 1 or len(self.sizes) == 1:
            return True
        if rung == 0 or not running:
            return False
        before, now = (max(running, key=lambda index: self._evaluations[index][r].score) for r in (rung - 1, rung))
        return before == now

    def probability(self) -> float:
        """That the first teacher is within the margin of the best of those that were evaluated, at least."""
        first = self._ordered()[0]
        # In order, as a sum of floating-point numbers depends on it.
        return max(0.0, 1.0 - sum(self._better(other, first) for other in sorted(self._evaluations) if other != first))

    def _evaluate_best(self, running: list[int], rung: int, most: int) -> list[int]:
        """The first teachers that can be evaluated, as many as are affordable or until a limit is reached."""
        rows, remaining, evaluated = self._new_rows(rung), iter(running), set[int]()
        # Of the time: the first set of rows leaves some for the next, if there is one.
        share = 0.5 if rung == 0 and len(self.sizes) > 1 else 1.0

        def may_start() -> bool:
            limit = self.meter.reached(forwards=rows)
            if limit is None and len(evaluated) > 1 and self._time_left(share) <= 0:
                limit = "seconds"
            self._limit = limit or self._limit
            return limit is None

        # As many as are affordable; then others in place of those that cannot be used.
        while (batch := list(islice(remaining, most - len(evaluated)))) and may_start():
            start = self.meter.seconds
            for index, evaluation in self.evaluate(batch, rung, may_start):
                seconds, start = self.meter.seconds - start, self.meter.seconds
                self._unreached.discard(index)
                if evaluation is None:
                    self._evaluations.pop(index, None)
                    continue
                self._evaluated_rows += self.sizes[rung]
                self._evaluated_seconds += seconds
                self._evaluations.setdefault(index, {})[rung] = evaluation
                evaluated.add(index)
        return [index for index in running if index in evaluated]

    def _affordable(self, running: int, rung: int) -> int:
        """The number of teachers for whose rows, with as much for each later set, the rest of the budget suffices."""
        shares = 2 if rung == 0 and len(self.sizes) > 1 else len(self.sizes) - rung
        budget, capacity = self.meter.budget, dict[Limit, float]()
        if budget.forwards is not None:
            capacity["forwards"] = (budget.forwards - self.meter.forwards) / self._new_rows(rung)
        if budget.seconds is not None and self._evaluated_seconds > 0:
            expected = self._evaluated_seconds / self._evaluated_rows * self.sizes[rung]
            capacity["seconds"] = self._time_left(1.0) / expected
        for limit, count in capacity.items():
            # Two on this set, rather than none on the later ones.
            most = int(max(count / shares, min(count, 2)))
            if most < running:
                running, self._limit = most, limit
        return running

    def _time_left(self, share: float) -> float:
        limit = self.meter.budget.seconds
        return math.inf if limit is None else share * limit - self.meter.seconds

    def _new_rows(self, rung: int) -> int:
        return self.sizes[rung] - (self.sizes[rung - 1] if rung else 0)

    def _survivors(self, running: list[int], rung: int) -> list[int]:
        """The teachers that may still be better than the first, at least half of them and two; best first."""
        running = sorted(running, key=lambda index: -self._evaluations[index][rung].score)
        first, level = running[0], (1 - CERTAINTY) / len(self._evaluations)
        least = max((len(running) + 1) // 2, 2)
        return running[:least] + [index for index in running[least:] if self._better(index, first) >= level]

    def _better(self, other: int, first: int) -> float:
        """The probability that a teacher is better than the first by more than the margin, on the last common rows."""
        rung = max(set(self._evaluations[other]) & set(self._evaluations[first]))
        a, b = self._evaluations[other][rung], self._evaluations[first][rung]
        differences = a.values - b.values
        differences = differences[np.isfinite(differences)]
        excess = a.score - b.score - self.margin
        error = self.standard_error(differences, rung) if len(differences) > 1 else 0.0
        if error == 0:
            return float(excess > 0)
        return float(student_t.cdf(excess / error, len(differences) - 1))

    @property
    def margin(self) -> float:
        """The difference of scores that is taken for none."""
        if self.shares:
            return MARGIN
        scores = [by_rung[0].score for by_rung in self._evaluations.values()]
        return MARGIN_OF_SPREAD * float(np.subtract(*np.percentile(scores, [75, 25]))) if scores else 0.0

    def _ordered(self) -> list[int]:
        def key(index: int) -> tuple[int, float, int]:
            rung = max(self._evaluations[index])
            return -rung, -self._evaluations[index][rung].score, index

        return sorted(self._evaluations, key=key)

    def _outcome(self, stopped: Literal["settled", "rows"] | Limit) -> RaceOutcome:
        order = tuple(self._ordered())
        rungs = tuple(max(self._evaluations[index]) for index in order)
        if self._unreached and self._limit is not None:  # the best may be among those that it kept out
            stopped = self._limit
        return RaceOutcome(order, rungs, self.probability() if order else 0.0, stopped, self.margin)
