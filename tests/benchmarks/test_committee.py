import pytest
from tiny_suite import build

from benchmarks.evidence import committee, student
from benchmarks.evidence.committee import (
    ARMS,
    CELLS,
    COMMITTEE,
    FIRST,
    REFERENCE,
    SEEDS,
    TUNING,
    Job,
    key_of,
    measure,
    members_of,
    plan,
    settings_of,
    store_of,
)
from benchmarks.evidence.grid import DEFAULT, PLAIN, TEACHERS, Cell
from benchmarks.evidence.run import Suite
from benchmarks.evidence.settings import Settings, Tuned
from benchmarks.evidence.student import RunSettings
from hf_ctkd.demo.students import build_student
from hf_ctkd.demo.tasks import TASKS
from hf_ctkd.losses import CommitteeLoss

CELL = Cell("tiny", 8)


@pytest.fixture
def suite(untuned_suite):
    """The same with settings of the committee, which would take six runs to tune."""
    suite, messages = untuned_suite
    short = {COMMITTEE: Settings(steps=2)}
    Tuned({"text": short, "image": short}).save(suite.folder / TUNING, [])
    return suite, messages


@pytest.fixture
def untuned_suite(tmp_path, monkeypatch):
    """Three teachers of other tasks and the one of the target's own labels, for a task of two kinds of texts."""
    monkeypatch.setattr(committee, "STEPS", 2)
    short = dict.fromkeys((PLAIN, DEFAULT), Settings(steps=2))
    Tuned({"text": short, "image": short}).save(tmp_path / "results" / "tuning.json", [])
    monkeypatch.setitem(TASKS, "tiny", ("text", None))
    monkeypatch.setitem(committee.SAME_TASK, "tiny", "scipy")
    monkeypatch.setattr(committee, "task_of", lambda name, labels, seed: build(labels=labels, seed=seed))
    monkeypatch.setitem(committee.TUNED_ON, "text", ((CELL, ""),))
    monkeypatch.setitem(committee.TUNED_ON, "image", ((CELL, ""),))
    monkeypatch.setattr(committee, "RATES", {"image": (1e-3,), "text": (1e-3, 1e-2)})
    student.candidates.cache_clear()
    committee._members.cache_clear()
    for seed, name in enumerate(("scipy", *TEACHERS["text"][1:4])):
        for part in build_student(build(labels=8, seed=0), seed=seed):
            part.save_pretrained(tmp_path / "zoo" / name)
    folders = (str(tmp_path / "zoo"),)
    messages = []
    run_settings = RunSettings({"text": folders, "image": folders}, str(tmp_path / "work"))
    return Suite(tmp_path / "results", run_settings, processes=1, say=messages.append), messages


def test_plan_holds_every_arm_of_every_pair_what_the_goals_speak_of_first():
    jobs = plan()
    texts_alone = sum(cell.modality == "image" for cell in CELLS) * sum(arm.interactive for arm in ARMS.values())
    assert len(jobs) == len(set(jobs)) == len(SEEDS) * (len(CELLS) * (2 + len(ARMS)) - texts_alone)
    assert {job.cell.modality for job in jobs} == {"image", "text"} and len(CELLS) >= 5
    assert {job.method for job in jobs[: len(CELLS) * len(SEEDS) * len(FIRST)]} == set(FIRST)
    first = jobs[: len(FIRST)]
    assert len({(job.cell, job.seed) for job in first}) == 1, "a pair is not finished before the next begins"


def test_arms_differ_and_each_tells_its_settings():
    made = [(arm.loss().name, str(arm.loss().settings()), arm.who, arm.interactive) for arm in ARMS.values()]
    assert len(set(made)) == len(made)
    assert all(arm.kin in (DEFAULT, COMMITTEE, "inverted projection") for arm in ARMS.values())
    assert isinstance(ARMS[COMMITTEE].loss(), CommitteeLoss)


def test_members_are_three_teachers_of_other_tasks(suite):
    suite, _ = suite
    members = members_of(suite, CELL, 0)
    assert {member.name for member in members} == set(TEACHERS["text"][1:4]) and len(members) == 3


def test_runs_are_made_once_and_a_failure_is_a_row(suite, monkeypatch):
    suite, messages = suite
    methods = (PLAIN, REFERENCE, COMMITTEE, "mean of label maps", "committee, two of three asked")
    jobs = [Job(CELL, 0, method) for method in methods]
    monkeypatch.setitem(committee.SAME_TASK, "tiny", "nobody")  # its measurement fails
    measure(suite, jobs, seconds=None)
    rows = {row["method"]: row for row in store_of(suite).rows()}
    assert set(rows) == set(methods)
    assert rows[REFERENCE]["error"].startswith("KeyError") and any("failed" in line for line in messages)
    for method in methods:
        if method != REFERENCE:
            assert rows[method]["error"] == "" and 0 <= float(rows[method]["accuracy"]) <= 1
    assert rows[COMMITTEE]["teachers"].count(" + ") == 2 and rows[PLAIN]["teachers"] == ""
    assert float(rows["committee, two of three asked"]["skipped"]) == pytest.approx(1 / 3, abs=0.01)
    assert float(rows[COMMITTEE]["skipped"]) == 0.0
    measure(suite, jobs, seconds=None)
    assert "5 runs planned, 1 missing" in [line for line in messages if "planned" in line][-1]


def test_nothing_is_started_when_the_time_is_up(suite):
    suite, _ = suite
    settings_of(suite)
    measure(suite, [Job(CELL, 0, PLAIN)], seconds=-1.0)
    assert store_of(suite).rows() == []


def test_the_committee_is_tuned_once_on_validation_rows(untuned_suite):
    suite, messages = untuned_suite
    tuned = settings_of(suite)
    assert tuned.of(COMMITTEE, "text").learning_rate in (1e-3, 1e-2)
    assert len([line for line in messages if "tuning the committee" in line]) == 6
    again = settings_of(suite)
    assert len([line for line in messages if "tuning the committee" in line]) == 6
    assert again.of(COMMITTEE, "text") == tuned.of(COMMITTEE, "text")


def test_key_changes_with_what_shapes_a_run(suite):
    suite, _ = suite
    tuned = Tuned({"text": {COMMITTEE: Settings()}})
    job = Job(CELL, 0, COMMITTEE)
    others = [Job(CELL, 1, COMMITTEE), Job(CELL, 0, PLAIN), Job(CELL, 0, "committee, with questions")]
    keys = {key_of(suite, one, tuned) for one in (job, *others)}
    faster = Tuned({"text": {COMMITTEE: Settings(learning_rate=1.0)}})
    assert len(keys | {key_of(suite, job, faster)}) == 5
    assert key_of(suite, job, tuned) == key_of(suite, Job(CELL, 0, COMMITTEE), tuned)
