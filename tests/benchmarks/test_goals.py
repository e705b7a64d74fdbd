import pytest
from tiny_suite import row, runs_with, scores_with

from benchmarks.evidence.analysis import NOTHING, Estimate, load_runs, load_scores
from benchmarks.evidence.goals import gap_goals, goals, harmless_goal
from benchmarks.evidence.grid import BALANCED, DEFAULT, IMBALANCED, PLAIN


def _goals(gain, control=0.02, scored=True):
    runs = load_runs(runs_with((BALANCED, IMBALANCED), gain, control=control))
    scores = load_scores(
        [one for cell in (BALANCED, IMBALANCED) for one in scores_with(cell, {"handwriting": 1.0, "arrows": 0.0})]
        if scored
        else []
    )
    return goals(runs, scores)


def test_all_goals_are_reached_by_a_large_gain_and_none_by_a_loss():
    assert [goal.reached for goal in _goals(0.15)] == [True] * 7
    assert [goal.reached for goal in _goals(-0.05)] == [False] * 7


@pytest.mark.parametrize(
    ("gain", "control", "reached"),
    [(0.09, 0.02, [True, True, False]), (0.09, 0.08, [True, False, False]), (0.04, 0.0, [False, True, False])],
)
def test_each_goal_has_its_own_bound(gain, control, reached):
    assert [goal.reached for goal in _goals(gain, control)[:3]] == reached


def test_a_small_loss_is_no_harm_and_nothing_measured_no_miss():
    outcomes = _goals(-0.004)
    assert [goal.reached for goal in outcomes[3:]] == [True] * 4
    assert [goal.reached for goal in _goals(-0.006)[3:]] == [False] * 4
    assert _goals(0.1, scored=False)[2].verdict == "not run yet"


def test_the_pretrained_student_has_bounds_of_its_own():
    def gain(value):
        return Estimate(value, value, value, 1, 3)

    above = gap_goals("texts", gain(5.1), gain(4.1), gain(1.1), gain(1.1), 0.81)
    below = gap_goals("texts", gain(4.9), gain(3.9), gain(0.9), gain(0.9), 0.79)
    assert [goal.reached for goal in above] == [True] * 5 and all(goal.text.startswith("texts: ") for goal in above)
    assert [goal.reached for goal in below] == [False] * 5
    nothing = gap_goals("texts", NOTHING, NOTHING, NOTHING, NOTHING, None)
    assert [goal.verdict for goal in nothing] == ["not run yet"] * 5
    pictures = gap_goals("pictures", gain(5.1), gain(4.1), None, gain(1.1), 0.81)
    assert len(pictures) == 4 and not any("SetFit" in goal.text for goal in pictures)
    harmless, harmful = (harmless_goal({"any teacher": gain(value)}) for value in (-0.4, -0.6))
    assert harmless.reached and not harmful.reached and "any teacher -0.6" in harmful.measured
    assert harmless_goal({}).verdict == "not run yet"


def test_without_scores_nothing_is_claimed_of_the_selector():
    assert not _goals(0.15, scored=False)[2].reached


def test_a_teacher_that_harms_is_named():
    rows = [row(BALANCED, PLAIN, seed, 0.5) for seed in range(3)]
    rows += [row(BALANCED, DEFAULT, seed, 0.47, teacher="arrows") for seed in range(3)]
    rows += [row(BALANCED, DEFAULT, seed, 0.6, teacher="greek") for seed in range(3)]
    found = goals(load_runs(rows), load_scores([]))
    assert "arrows -3.0" in found[3].measured and not found[3].reached
    assert "arrows" in found[4].measured and "greek" not in found[4].measured and not found[4].reached
