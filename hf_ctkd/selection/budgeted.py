"""Candidates scored within a budget: a race over nested sets of the scoring rows."""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError, ProblemCode, TeacherUnavailableError
from hf_ctkd.records import RankedTeacher, TeacherCandidate
from hf_ctkd.selection.budget import Meter, SelectionBudget
from hf_ctkd.selection.downloads import fetched_ahead
from hf_ctkd.selection.execution import scores_of_workers
from hf_ctkd.selection.leaderboard import Progress
from hf_ctkd.selection.metadata_order import by_metadata
from hf_ctkd.selection.race import Evaluation, Race, RaceOutcome
from hf_ctkd.selection.sampling import stratified
from hf_ctkd.selection.scorer import Scorer
from hf_ctkd.selection.scoring_job import ScoringJob
from hf_ctkd.selection.standard_errors import HALVES, HalfSample, error_from_halves, error_from_rows
from hf_ctkd.teachers import on_main

_ROWS_A_CLASS = 4
"""Fewest rows of the smallest set for each class, on average: two in each half."""
_LEAST_ROWS = 32
_TELLING = 0.5
"""Least probability that is stated: it is a lower bound, which says nothing where many teachers are nearly alike."""
_SHARES = ("information_gain", "nearest_neighbour")
"""Names of the metrics that are shares of 0 to 1."""
_UNITS = {"seconds": "seconds", "forwards": "rows run through teachers", "bytes": "bytes"}


@dataclass(frozen=True)
class BudgetedScores:
    """What was scored within a budget.

    Args:
        teachers: best first, those on more rows before those on fewer; then those that were skipped.
        facts: for the record: limits, what was spent, why the run ended, and how sure it is of the first.
        row_set: number of the set of rows that the first was scored on.
    """

    teachers: tuple[RankedTeacher, ...]
    facts: dict[str, Any]
    row_set: int


def score_within(
    scorers: Sequence[Scorer],
    candidates: Sequence[TeacherCandidate],
    progress: Progress,
    meter: Meter,
    executor: Executor | None = None,
) -> BudgetedScores:
    """Score the candidates, the most promising ones on all rows, until the best is clear or the budget is spent.

    Args:
        scorers: of the ranking, one for each of the nested sets of rows, as `on_row_sets` gives them.
        candidates: all of them.
        progress: is told of each score.
        meter: of the budget, started when the selection was.
        executor: whose workers score the candidates of each set of rows; None to score them in turn, in this process.

    Raises:
        DatasetError: if a row cannot be read.
        InvalidArgumentError: if the cache cannot be written, or the budget does not suffice for one teacher.
    """
    if len(candidates) == 1:  # compared with the student alone: at once on as many rows as are allowed
        scorers = [_largest(scorers, meter.budget)]
    scorer = scorers[-1]
    ordered = on_main(scorer.accelerator, lambda: by_metadata(candidates, scorer.rows.label_space.names))
    contest = _Contest(scorers, ordered, progress, meter)
    evaluate = contest.evaluate_in_turn if executor is None else partial(contest.evaluate_on_workers, executor)
    metric, sizes = scorer.metrics[0].name, [len(scorer.rows) for scorer in scorers]
    outcome = Race(sizes, contest.standard_error, meter, evaluate, metric in _SHARES).run(len(ordered))
    teachers = tuple(contest.ranked(outcome))
    row_set = outcome.rungs[0] if outcome.rungs else 0
    return BudgetedScores(teachers, _facts(meter, outcome, sizes, teachers, metric), row_set)


def on_row_sets(scorer: Scorer) -> list[Scorer]:
    """The same scorer on nested sets of its rows, each half of the next; the last on all of them.

    Args:
        scorer: of a ranking.
    """
    sets = _nested(scorer.rows.labels)
    return [replace(scorer, rows=scorer.rows.select(rows.tolist())) for rows in sets]


@dataclass
class _Contest:
    """The teachers behind the indices of a race, and what is known of each."""

    on_sets: Sequence[Scorer]
    candidates: Sequence[TeacherCandidate]
    progress: Progress
    meter: Meter
    scored: dict[int, RankedTeacher] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.accelerator, metrics = self.on_sets[0].accelerator, self.on_sets[0].metrics
        self.metric = metrics[0]
        # A metric is computed for each half: only where its values on the rows are not at hand.
        halves = 0 if self.on_sets[0].caches_row_values else HALVES
        self.halves = [HalfSample(self.metric, seed) for seed in range(halves)]
        self.scorers = [replace(scorer, metrics=(*metrics, *self.halves)) for scorer in self.on_sets]

    def standard_error(self, differences: np.ndarray, rung: int) -> float:
        """Of the difference of two teachers' scores on a set of rows, from the differences of their values."""
        if self.halves:
            return error_from_halves(differences, self.scorers[rung].rows.labels)
        return error_from_rows(differences)

    def evaluate_in_turn(
        self, indices: Sequence[int], rung: int, may_start: Callable[[], bool]
    ) -> Iterator[tuple[int, Evaluation | None]]:
        """Score teachers on a set of rows in this process, the next one being fetched meanwhile; see `Evaluate`."""
        fetched = fetched_ahead(iter(indices), self._fetch, most=1)  # in order: what is spent first counts
        if self.accelerator.num_processes > 1:  # they agree on what a download takes, which no thread can do
            fetched = ((index, self._download_problem(index)) for index in indices)
        with closing(fetched):
            for index, problem in fetched:
                if not may_start():
                    return
                candidate = self.candidates[index]
                self.progress.start(candidate)
                if problem is None:
                    teacher = self.scorers[rung].score(candidate)
                else:
                    teacher = RankedTeacher.unusable(candidate, problem)
                yield index, self._evaluation(index, rung, teacher)

    def evaluate_on_workers(
        self, executor: Executor, indices: Sequence[int], rung: int, may_start: Callable[[], bool]
    ) -> Iterator[tuple[int, Evaluation | None]]:
        """Have the workers of the executor score teachers on a set of rows; see `Evaluate`."""
        skipped: dict[int, RankedTeacher] = {}

        def affordable() -> Iterator[tuple[int, TeacherCandidate]]:
            for index in indices:
                if not may_start():
                    return
                problem = self._download_problem(index)
                if problem is None:
                    yield index, self.candidates[index]
                else:
                    skipped[index] = RankedTeacher.unusable(self.candidates[index], problem)

        scored = scores_of_workers(executor, ScoringJob.of(self.scorers[rung]), affordable(), may_start)
        for index, teacher in chain(scored, skipped.items()):
            yield index, self._evaluation(index, rung, teacher)

    def _evaluation(self, index: int, rung: int, teacher: RankedTeacher) -> Evaluation | None:
        """What the race compares of a teacher, whose scores are kept; None if it was skipped."""
        before = self.scored.get(index)
        names = {half.name for half in self.halves}
        self.scored[index] = replace(
            teacher,
            scores={name: value for name, value in teacher.scores.items() if name not in names},
            seconds=teacher.seconds + (0.0 if before is None else before.seconds),
        )
        if teacher.skipped is not None:
            self.progress.finish(teacher)
            return None
        before_it = len(self.scorers[rung - 1].rows) if rung else 0
        self.meter.spend(forwards=len(self.scorers[rung].rows) - before_it)
        if rung == 0:
            self.progress.finish(teacher)
        return Evaluation(teacher.scores[self.metric.name], self._values(index, rung, teacher))

    def _values(self, index: int, rung: int, teacher: RankedTeacher) -> np.ndarray:
        """What tells the error of the teacher's score: its values on halves of the rows, or on the rows."""
        if self.halves:
            return np.asarray([teacher.scores.get(half.name, math.nan) for half in self.halves])
        scorer, candidate = self.scorers[rung], self.candidates[index]
        values = on_main(self.accelerator, lambda: scorer.row_values(candidate))
        if values is None:
            raise InvalidArgumentError(
                f"The scores of {candidate.name!r} were deleted from the cache {scorer.run_settings.folder} while "
                "teachers were ranked. Run again, with a `cache_dir` that nothing else clears."
            )
        return values.numpy()

    def _fetch(self, index: int) -> None:
        problem = self._download_problem(index)
        if problem is not None:
            raise problem
        if index not in self.scored:
            self.scorers[0].fetch(self.candidates[index])

    def _download_problem(self, index: int) -> TeacherUnavailableError | None:
        """Spend the bytes of a download, or say why it cannot be had; nothing for a teacher that was scored before."""
        candidate, left = self.candidates[index], self.meter.bytes_left
        if left is None or index in self.scored:
            return None
        try:
            size = on_main(self.accelerator, lambda: self.scorers[0].run_settings.options.download_bytes(candidate))
        except TeacherUnavailableError as error:
            return error
        if size > left:
            return TeacherUnavailableError(
                f"its download takes {size:,} bytes, more than the {left:,} that are left of the budget. Allow more "
                "bytes.",
                ProblemCode.OUT_OF_BUDGET,
            )
        self.meter.spend(bytes=size)
        return None

    def ranked(self, outcome: RaceOutcome) -> list[RankedTeacher]:
        """All candidates: those in the race, best first, then the skipped ones."""
        unreached = TeacherUnavailableError(
            "the budget was spent before its turn came. Allow more, or name fewer candidates.",
            ProblemCode.OUT_OF_BUDGET,
        )
        skipped = [
            self.scored.get(index) or RankedTeacher(candidate, skipped=str(unreached), skipped_code=unreached.code)
            for index, candidate in enumerate(self.candidates)
            if index not in outcome.order
        ]
        if not outcome.order and any(teacher.skipped_code is ProblemCode.OUT_OF_BUDGET for teacher in skipped):
            raise InvalidArgumentError(_too_small(self.meter.budget, len(self.scorers[0].rows)))
        return [*(self.scored[index] for index in outcome.order), *skipped]


def _nested(labels: Int[Tensor, " rows"]) -> list[Int[Tensor, "_"]]:
    """Indices of nested sets of rows, each half of the next, the last of all rows."""
    least = max(_LEAST_ROWS, _ROWS_A_CLASS * len(labels.unique()))
    sets = [torch.arange(len(labels))]
    while len(sets[0]) // 2 >= least:
        sets.insert(0, sets[0][stratified(labels[sets[0]], len(sets[0]) // 2, seed=0)])
    return sets


def _largest(scorers: Sequence[Scorer], budget: SelectionBudget) -> Scorer:
    """That of the most rows that the budget allows one teacher; of the fewest if it allows none."""
    most = math.inf if budget.forwards is None else budget.forwards
    return next((scorer for scorer in reversed(scorers) if len(scorer.rows) <= most), scorers[0])


def _too_small(budget: SelectionBudget, rows: int) -> str:
    limits = " and ".join(f"{value:,} {_UNITS[name]}" for name, value in asdict(budget).items() if value is not None)
    return (
        f"`budget` of {limits} does not suffice to score any teacher: each needs {rows:,} rows, the download of its "
        "weights, and time for both. Allow more."
    )


def _facts(
    meter: Meter, outcome: RaceOutcome, sizes: Sequence[int], teachers: Sequence[RankedTeacher], metric: str
) -> dict[str, Any]:
    spent = {"seconds": round(meter.seconds, 1), "forwards": meter.forwards, "bytes": meter.bytes}
    stopped: str = outcome.stopped
    if stopped == "settled" and any(teacher.skipped_code is ProblemCode.OUT_OF_BUDGET for teacher in teachers):
        stopped = "bytes"  # a race ends with any other limit that keeps a teacher out
    settled = "the first is settled" if len(outcome.order) > 1 else "no other teacher is left"
    reason = {"settled": settled, "rows": "all rows were used"}.get(stopped)
    reason = reason or f"the budget of {_UNITS[stopped]} was reached"
    summary = (
        f"Within the budget: {meter.forwards:,} {_UNITS['forwards']}, {spent['seconds']:,} seconds, "
        f"{meter.bytes:,} bytes of downloads; it ended because {reason}. {_certainty(outcome, len(teachers), metric)}"
    )
    return {
        "limits": asdict(meter.budget),
        "spent": spent,
        "row_sets": list(sizes),
        "stopped": stopped,
        "probability": outcome.probability,
        "margin": outcome.margin,
        "summary": summary,
    }


def _certainty(outcome: RaceOutcome, candidates: int, metric: str) -> str:
    scored = len(outcome.order)
    if not scored:
        return "No teacher could be scored."
    if scored == 1:
        return f"1 of {candidates} teachers was scored, so that there is none to compare it with."
    among = f"Of the {scored} of {candidates} teachers that were scored, the first"
    if outcome.probability < _TELLING:
        return (
            f"{among} cannot be told apart from the best: others may have a {metric} that is more than "
            f"{outcome.margin:.3g} higher."
        )
    return (
        f"{among} is within {outcome.margin:.3g} of the best {metric} with a probability of at least "
        f"{outcome.probability:.2f}."
    )
