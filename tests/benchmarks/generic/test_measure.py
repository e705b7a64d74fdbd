"""Runs cut short, on the real rows."""

from dataclasses import asdict

import pytest

from benchmarks.evidence.generic import design, measure, train
from benchmarks.evidence.generic.design import GENERIC, PLAIN, Tuning
from benchmarks.evidence.generic.measure import KIND, Place
from benchmarks.evidence.generic.speed import step_times
from hf_ctkd.records import write_json

TUNED = Tuning(branches={"kl_direction": "from_branch"})


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(train, "TEACHER_STEPS", 2)
    monkeypatch.setattr(train, "STUDENT_STEPS", 2)
    monkeypatch.setattr(design, "STUDENTS", design.STUDENTS[:2])
    monkeypatch.setattr(design, "EXACT", 1)
    monkeypatch.setattr(design, "ABLATED", 1)
    monkeypatch.setattr(design, "ABLATIONS", dict(list(design.ABLATIONS.items())[:1]))
    monkeypatch.setattr(design, "TUNING_SEEDS", (1000,))
    monkeypatch.setattr(design, "TUNING_STUDENTS", design.TUNING_STUDENTS[:1])
    monkeypatch.setattr(design, "RATES", (1e-3, 3e-3))


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "results", tmp_path / "work", say=lambda _: None)


def test_every_planned_run_is_made_once_and_kept(place, monkeypatch):
    write_json(place.results / measure.TUNING, {"kind": KIND, "chosen": asdict(TUNED)})
    measure.measure(place, seconds=None, seeds=(0,))
    rows = place.runs.rows()
    planned = list(design.plan(TUNED, (0,)))
    assert {row["key"] for row in rows if row["kind"] == "student"} == {run.key for run in planned}
    assert not [row for row in rows if row["error"]]
    teachers = [row for row in rows if row["kind"] == "teacher"]
    assert len(teachers) == len({run.teacher.key for run in planned if run.teacher is not None})
    monkeypatch.setattr(measure, "train_student", None)  # nothing is left to be made
    measure.measure(place, seconds=None, seeds=(0,))
    assert place.runs.rows() == rows


def test_a_failure_is_kept_and_tried_again(place, monkeypatch):
    run = next(iter(design.plan(TUNED, (0,))))

    def failing(run, work):
        raise RuntimeError("no memory")

    with monkeypatch.context() as patched:
        patched.setattr(measure, "train_student", failing)
        measure._make(place, place.runs, [run], until=None)
    assert [row["error"] for row in place.runs.rows() if row["kind"] == "student"] == ["RuntimeError: no memory"]
    assert run.key not in place.runs.done()
    measure._make(place, place.runs, [run], until=None)
    assert run.key in place.runs.done()


def test_time_that_is_up_ends_it(place):
    said = []
    timed = Place(place.results, place.work, say=said.append)
    measure._make(timed, timed.runs, list(design.plan(TUNED, (0,))), until=0.0)
    assert said == ["out of time: run the same command again for the rest"] and not timed.runs.rows()


def test_tuning_takes_what_validation_rows_prefer(place, monkeypatch):
    rated = {}

    def told(run, work):
        best = run.rate == 3e-3 and (run.teacher is None or run.teacher.rate == 1e-3)
        good = run.teacher is not None and run.teacher.branches.get("kl_direction") == "from_teacher"
        soft = run.temperature == (1.0 if run.teacher is not None and run.teacher.branches else 2.0)
        rated[run.key] = 0.5 + 0.2 * best + 0.1 * good + 0.05 * soft
        known = {"key": run.key, "kind": "student", "validation_accuracy": rated[run.key]}
        return {**dict.fromkeys(train.COLUMNS, ""), **known}

    monkeypatch.setattr(measure, "train_student", told)
    monkeypatch.setattr(measure, "_ready", lambda *_: None)
    chosen = measure.tune(place)
    assert (chosen.teacher_rate, chosen.student_rate, chosen.alone_rate) == (1e-3, 3e-3, 3e-3)
    weight = chosen.branches.pop("branch_kl_weight")
    assert weight == 0.3 and chosen.branches == {"kl_direction": "from_teacher", "branch_temperature": 2.0}
    chosen.branches["branch_kl_weight"] = weight
    assert (chosen.plain_temperature, chosen.generic_temperature) == (2.0, 1.0)
    rated.clear()
    assert measure.tune(place) == chosen and not rated
    assert not place.runs.rows(), "trials are no results"


def test_steps_are_timed(tmp_path):
    times = step_times(TUNED, tmp_path, rounds=2)
    assert times[GENERIC] > times[PLAIN] > 0
