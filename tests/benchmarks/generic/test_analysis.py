import pytest
from tables import runs

from benchmarks.evidence.generic.analysis import difference, load, students, teachers
from benchmarks.evidence.generic.design import EXACT_TARGET, GENERIC, PLAIN, STUDENTS, WRONG_TARGET


def test_a_difference_is_paired_over_students_and_seeds():
    found = difference(load(runs()), GENERIC)
    assert (found.students, found.seeds) == (20, 3)
    assert found.value == pytest.approx(19 / 20 * 2.0 - 0.05)
    assert found.improved == pytest.approx(0.95)
    assert (found.worst, found.lowest) == (STUDENTS[19].name, pytest.approx(-1.0))
    assert found.low < found.value < found.high < 2.001


def test_an_interval_is_as_wide_as_the_seeds_differ():
    rows = runs()
    for one in rows:
        if one["kind"] == "student" and one["arm"] == GENERIC:
            one["accuracy"] = str(float(one["accuracy"]) + 0.03 * int(one["seed"]))
    found = difference(load(rows), GENERIC)
    assert found.high - found.low > 3.0  # seeds 0 to 2 lie six points apart


def test_only_what_both_arms_have_is_compared():
    frame = load(runs())
    exact = difference(frame, EXACT_TARGET, GENERIC)
    assert (exact.students, exact.value) == (4, pytest.approx(0.0))
    assert difference(frame, GENERIC, "no such arm") is None
    some = difference(frame, GENERIC, names=[STUDENTS[19].name])
    assert (some.students, some.value) == (1, pytest.approx(-1.0))


def test_failed_runs_are_left_out():
    rows = runs()
    for one in rows:
        if one["arm"] == WRONG_TARGET and one["student"] == STUDENTS[0].name:
            one["error"], one["accuracy"] = "RuntimeError: no memory", ""
    frame = load(rows)
    assert STUDENTS[0].name not in students(frame, WRONG_TARGET).index
    assert difference(frame, WRONG_TARGET).students == 19


def test_teachers_are_averaged_over_their_seeds():
    found = teachers(load(runs()))
    assert found.loc[PLAIN, "processor"] == 4.0 and found.loc[GENERIC, "count"] == 3
    assert load([]).empty
