import pytest
from test_committee import CELL, suite, untuned_suite  # noqa: F401 (fixtures)

from benchmarks.evidence import committee_speed
from benchmarks.evidence.committee import COMMITTEE, LOG_MEAN
from benchmarks.evidence.committee_speed import StepTimes, measure
from benchmarks.evidence.grid import PLAIN


def test_every_arm_is_timed_in_turn_and_only_once(suite, monkeypatch):  # noqa: F811
    suite, _ = suite
    monkeypatch.setattr(committee_speed, "task_of", lambda name, labels, seed: _tiny(labels, seed))
    monkeypatch.setattr(committee_speed, "CELLS", (CELL,))
    monkeypatch.setattr(committee_speed, "ROUNDS", 1)
    monkeypatch.setattr(committee_speed, "STEPS", 5)
    monkeypatch.setattr(committee_speed, "WARM_UP", 1)
    found = measure(suite)
    assert set(found["method"]) == {PLAIN, COMMITTEE, LOG_MEAN} and (found["milliseconds"] > 0).all()
    sizes = found.groupby("student")["parameters"].max()
    assert sizes[committee_speed.TINY] < 100_000 and 500_000 < sizes[committee_speed.SMALL] < 3_000_000
    monkeypatch.setattr(committee_speed, "trainer_of", None)
    assert measure(suite).equals(found)


def _tiny(labels, seed):
    from tiny_suite import build

    return build(labels=labels, seed=seed)


def test_times_of_steps_leave_the_first_ones_out(monkeypatch):
    monkeypatch.setattr(committee_speed, "WARM_UP", 1)
    times = StepTimes()
    times.ends = [0.0, 5.0, 5.1, 5.3]
    assert times.milliseconds() == pytest.approx([100.0, 200.0])
