"""Races on a synthetic zoo: no models, known scores, the spread of real ones."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from hf_ctkd.selection.budget import Meter, SelectionBudget
from hf_ctkd.selection.race import CERTAINTY, MARGIN, Evaluation, Race

TEACHERS, ROWS = 40, 2048
SIZES = (64, 128, 256, 512, 1024, 2048)


@dataclass
class Zoo:
    """Teachers whose score is a mean over rows, which are hard or easy for all of them alike, less a learning curve."""

    seed: int = 0
    teachers: int = TEACHERS
    noise: float = 0.2
    spread: float = 0.5
    seconds: float = 0.0
    time: float = 0.0
    rows_run: int = 0
    calls: list = field(default_factory=list)

    def __post_init__(self) -> None:
        generator = np.random.default_rng(self.seed)
        self.truth = generator.permutation(np.linspace(0.2, 0.2 + self.spread, self.teachers))
        values = generator.normal(self.truth[:, None], self.noise, (self.teachers, ROWS))
        self.values = values + generator.normal(0, 0.3, ROWS)
        self.slope = generator.uniform(1, 3, self.teachers)

    def evaluate(self, index: int, rung: int) -> Evaluation:
        self.calls.append((index, rung))
        self.rows_run += SIZES[rung] - (SIZES[rung - 1] if rung else 0)
        self.time += self.seconds * SIZES[rung]
        rows = self.values[index, : SIZES[rung]] - self.slope[index] / SIZES[rung]
        return Evaluation(float(rows.mean()), rows)

    def race(self, evaluate=None, workers: int | None = None, sizes=SIZES, **limits) -> Race:
        meter = Meter(SelectionBudget(**limits), clock=lambda: self.time)

        def counted(index: int, rung: int) -> Evaluation | None:
            evaluation = (evaluate or self.evaluate)(index, rung)
            if evaluation is not None:
                meter.spend(forwards=SIZES[rung] - (SIZES[rung - 1] if rung else 0))
            return evaluation

        def in_turn(indices, rung, may_start):
            for index in indices:
                if not may_start():
                    return
                yield index, counted(index, rung)

        def on_workers(indices, rung, may_start):
            for index in np.random.default_rng(workers).permutation(indices).tolist():
                yield index, counted(index, rung)

        def standard_error(differences: np.ndarray, rung: int) -> float:
            assert len(differences) == SIZES[rung]
            return float(differences.std(ddof=1)) / len(differences) ** 0.5

        return Race(sizes, standard_error, meter, in_turn if workers is None else on_workers)

    @property
    def scores(self) -> np.ndarray:
        """Of the full scoring."""
        return self.values.mean(axis=1) - self.slope / ROWS


def test_a_tenth_of_the_rows_finds_the_best():
    right = 0
    for seed in range(20):
        zoo = Zoo(seed, noise=0.1)  # 0.018 between two teachers on 64 rows, as much as neighbours differ by
        outcome = zoo.race(forwards=TEACHERS * ROWS // 10).run(TEACHERS)
        assert zoo.rows_run <= TEACHERS * ROWS // 10
        right += zoo.scores.max() - zoo.scores[outcome.order[0]] <= MARGIN
        assert len(outcome.order) == TEACHERS
        assert list(outcome.rungs) == sorted(outcome.rungs, reverse=True)
    assert right >= 18


def test_without_a_limit_that_binds_it_ends_once_settled():
    right = settled = 0
    for seed in range(20):
        zoo = Zoo(seed)
        outcome = zoo.race(forwards=10**9).run(TEACHERS)
        settled += outcome.stopped == "settled"
        assert outcome.stopped != "settled" or outcome.probability >= CERTAINTY
        right += zoo.truth.max() - zoo.truth[outcome.order[0]] <= 0.02
        assert zoo.rows_run < 0.5 * TEACHERS * ROWS
    assert right >= 19 and settled >= 5


def test_the_probability_is_honest():
    """Of races that say so, a share as large as they say ends within one point of the best."""
    said, right = [], []
    for seed in range(40):
        zoo = Zoo(100 + seed)
        outcome = zoo.race(forwards=TEACHERS * 64 * 2).run(TEACHERS)
        said.append(outcome.probability)
        right.append(zoo.truth.max() - zoo.truth[outcome.order[0]] <= MARGIN)
    assert np.mean(right) >= np.mean(said) - 0.1
    assert min(said) < 0.9


@pytest.mark.parametrize("seconds", [0.5, 3.0, 20.0])
def test_time_is_exceeded_by_one_teacher_at_most(seconds):
    zoo = Zoo(seconds=1e-3)
    outcome = zoo.race(seconds=seconds).run(TEACHERS)
    last = zoo.seconds * SIZES[zoo.calls[-1][1]]
    assert zoo.time <= seconds + last
    assert outcome.order and outcome.stopped in ("seconds", "settled", "rows")


def test_the_first_rows_leave_time_for_the_next():
    zoo = Zoo(seconds=1e-3, spread=0.05)
    zoo.race(seconds=1.0).run(TEACHERS)
    assert {rung for _, rung in zoo.calls} >= {0, 1}
    assert 3 < sum(rung == 0 for _, rung in zoo.calls) < TEACHERS


@pytest.mark.parametrize("limits", [{"seconds": 20.0}, {"forwards": 20 * SIZES[0]}])
def test_a_single_set_of_rows_takes_the_whole_budget(limits):
    zoo = Zoo(seconds=1 / SIZES[0])  # a second for a teacher
    outcome = zoo.race(sizes=SIZES[:1], **limits).run(TEACHERS)
    assert len(outcome.order) == 20 and outcome.stopped == next(iter(limits))


def test_teachers_that_cannot_be_used_are_left_out():
    zoo = Zoo()
    best = int(zoo.scores.argmax())

    def evaluate(index: int, rung: int) -> Evaluation | None:
        return None if index % 3 == 0 or (index == best and rung > 0) else zoo.evaluate(index, rung)

    outcome = zoo.race(evaluate, forwards=10**9).run(TEACHERS)
    assert best not in outcome.order and all(index % 3 for index in outcome.order)
    assert zoo.race(lambda index, rung: None, forwards=10**9).run(TEACHERS).order == ()


@pytest.mark.parametrize("forwards", [TEACHERS * 32, TEACHERS * 200, 10**9])
def test_the_order_in_which_workers_finish_does_not_matter(forwards):
    """Nor which of them cannot be used: others take their place, as in turn."""
    for seed in range(5):
        zoo = Zoo(seed)

        def evaluate(index: int, rung: int, zoo=zoo) -> Evaluation | None:
            return None if index % 4 == 1 else zoo.evaluate(index, rung)

        in_turn = zoo.race(evaluate, forwards=forwards).run(TEACHERS)
        rows_run, zoo.rows_run = zoo.rows_run, 0
        assert zoo.race(evaluate, workers=seed, forwards=forwards).run(TEACHERS) == in_turn
        assert zoo.rows_run == rows_run <= forwards


def test_one_teacher_and_teachers_that_are_all_alike():
    outcome = Zoo(teachers=1).race(forwards=10**6).run(1)
    assert (outcome.order, outcome.stopped, outcome.probability) == ((0,), "settled", 1.0)
    zoo = Zoo(teachers=3)
    outcome = zoo.race(lambda index, rung: Evaluation(0.5, np.full(SIZES[rung], 0.5)), forwards=10**6).run(3)
    assert (outcome.order, outcome.stopped, outcome.probability) == ((0, 1, 2), "settled", 1.0)


def test_nothing_is_settled_where_a_limit_kept_a_teacher_out():
    zoo = Zoo(teachers=3)
    outcome = zoo.race(forwards=100).run(3)
    assert (outcome.order, outcome.stopped) == ((0,), "forwards")
    alike = zoo.race(lambda index, rung: Evaluation(0.5, np.full(SIZES[rung], 0.5)), forwards=SIZES[0] * 4).run(3)
    assert (len(alike.order), alike.stopped) == (2, "forwards")


def test_the_margin_of_scores_on_other_scales_follows_from_their_spread():
    def race_of(scale: float, *, shares: bool):
        zoo = Zoo(3)

        def evaluate(index: int, rung: int) -> Evaluation:
            evaluation = zoo.evaluate(index, rung)
            return Evaluation(scale * evaluation.score, scale * evaluation.values)

        race = zoo.race(evaluate, forwards=TEACHERS * ROWS // 10)
        race.shares = shares
        return race.run(TEACHERS)

    small, large = race_of(1.0, shares=False), race_of(1024.0, shares=False)
    assert (small.order, small.probability, small.stopped) == (large.order, large.probability, large.stopped)
    assert large.margin == pytest.approx(1024 * small.margin) and 0.005 < small.margin < 0.02
    assert race_of(1024.0, shares=True).margin == MARGIN


def test_a_budget_too_small_for_one_teacher_evaluates_none():
    zoo = Zoo()
    outcome = zoo.race(forwards=63).run(TEACHERS)
    assert (outcome.order, outcome.stopped, zoo.calls) == ((), "forwards", [])
