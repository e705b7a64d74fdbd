"""Runs cut short, on the real rows."""

from dataclasses import asdict, replace

import pytest
import torch

from benchmarks.evidence.generic import design, measure, train
from benchmarks.evidence.generic.design import GENERIC, HEADROOM, PLAIN, RICH, SCARCE, STARTED, Tuning
from benchmarks.evidence.generic.measure import KIND, Workspace
from benchmarks.evidence.generic.speed import step_times
from hf_ctkd.records import write_json

BRANCHES = {"branches": {"kl_direction": "from_branch"}}
SHORT = replace(RICH, student_steps=2, teacher_steps=2)
TUNED = Tuning(**BRANCHES, case=SHORT)


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(design, "STUDENTS", design.STUDENTS[:2])
    monkeypatch.setattr(design, "EXACT", 1)
    monkeypatch.setattr(design, "ABLATED", 1)
    monkeypatch.setattr(design, "ABLATIONS", dict(list(design.ABLATIONS.items())[:1]))
    monkeypatch.setattr(design, "TUNING_SEEDS", (1000,))
    monkeypatch.setattr(design, "TUNING_STUDENTS", design.TUNING_STUDENTS[:1])
    monkeypatch.setattr(design, "TEACHER_RATES", (1e-3, 3e-3))
    monkeypatch.setattr(design, "STUDENT_RATES", (1e-3, 3e-3))


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "results", tmp_path / "work", say=lambda _: None, case=SHORT)


@pytest.mark.parametrize(
    "case",
    [
        SHORT,
        pytest.param(replace(SCARCE, student_steps=2, teacher_steps=2), marks=pytest.mark.slow),
        pytest.param(replace(HEADROOM, student_steps=2, teacher_steps=2), marks=pytest.mark.slow),
    ],
    ids=["rich", "scarce", "headroom"],
)
def test_every_planned_run_is_made_once_and_kept(case, workspace, monkeypatch):
    workspace, tuned = replace(workspace, case=case), replace(TUNED, case=case)
    write_json(workspace.tuning, {"kind": KIND, "chosen": asdict(tuned)})
    measure.measure(workspace, seconds=None, seeds=(0,))
    rows = workspace.runs.rows()
    planned = list(design.plan(tuned, (0,)))
    assert {row["key"] for row in rows if row["kind"] == "student"} == {run.key for run in planned}
    assert not [row for row in rows if row["error"]]
    teachers = [row for row in rows if row["kind"] == "teacher"]
    assert len(teachers) == len({run.teacher.key for run in planned if run.teacher is not None})
    monkeypatch.setattr(measure, "train_student", None)  # nothing is left to be made
    measure.measure(workspace, seconds=None, seeds=(0,))
    assert workspace.runs.rows() == rows


def test_students_of_one_arm_start_from_the_weights_of_their_branches(workspace):
    runs = {run.arm: run for run in design.plan(TUNED, (0,)) if run.arm in (GENERIC, STARTED)}
    started, usual = runs[STARTED], runs[GENERIC]
    assert started.teacher == usual.teacher and started.key != usual.key
    train.train_teacher(started.teacher, workspace.work)
    first = [train.first_student(run, workspace.work).state_dict() for run in (started, usual)]
    built = [run.member.build(train.task_of(run.case, 0).label_space, seed=0).state_dict() for run in (usual,)]
    assert all(torch.equal(first[1][name], built[0][name]) for name in built[0])
    changed = {name.split(".")[0] for name in first[0] if not torch.equal(first[0][name], first[1][name])}
    assert "classifier" in changed
    embedder = [name for name in first[0] if name.startswith("resnet.embedder")]
    assert embedder and all(torch.equal(first[0][name], first[1][name]) for name in embedder)


def test_a_failure_is_kept_and_tried_again(workspace, monkeypatch):
    run = next(iter(design.plan(TUNED, (0,))))

    def failing(run, work):
        raise RuntimeError("no memory")

    with monkeypatch.context() as patched:
        patched.setattr(measure, "train_student", failing)
        measure._make(workspace, workspace.runs, [run], until=None)
    assert [row["error"] for row in workspace.runs.rows() if row["kind"] == "student"] == ["RuntimeError: no memory"]
    assert run.key not in workspace.runs.done()
    measure._make(workspace, workspace.runs, [run], until=None)
    assert run.key in workspace.runs.done()


def test_time_that_is_up_ends_it(workspace):
    said = []
    timed = replace(workspace, say=said.append)
    measure._make(timed, timed.runs, list(design.plan(TUNED, (0,))), until=0.0)
    assert said == ["out of time: run the same command again for the rest"] and not timed.runs.rows()


def test_tuning_takes_what_validation_rows_prefer(workspace, monkeypatch):
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
    chosen = measure.tune(workspace)
    assert (chosen.teacher_rate, chosen.student_rate, chosen.alone_rate) == (1e-3, 3e-3, 3e-3)
    weight = chosen.branches.pop("branch_kl_weight")
    assert weight == 0.3 and chosen.branches == {"kl_direction": "from_teacher", "branch_temperature": 1.0}
    chosen.branches["branch_kl_weight"] = weight
    assert (chosen.plain_temperature, chosen.generic_temperature) == (2.0, 1.0)
    rated.clear()
    assert measure.tune(workspace) == chosen and not rated
    assert not workspace.runs.rows(), "trials are no results"


def test_teachers_learn_from_rows_of_their_own_or_from_the_students():
    assert len(train.teacher_rows(RICH, 0)) == 700
    shared = train.teacher_rows(SCARCE, 1)
    assert len(shared) == 150 and shared["label"][:] == train.task_of(SCARCE, 1).labelled["label"][:]
    assert shared["label"][:] != train.teacher_rows(SCARCE, 2)["label"][:]


def test_only_a_plain_teacher_of_few_rows_is_tried_with_regularisation():
    assert [one.plain_regular for one in design.plain_round(Tuning()).values()] == [0.0]
    tried = design.plain_round(Tuning(case=SCARCE)).values()
    assert [one.plain_regular for one in tried] == [0.0, 0.1]
    regular = [[design.teacher_of(arm, 0, one).regular for one in tried] for arm in (PLAIN, GENERIC)]
    assert regular == [[0.0, 0.1], [0.0, 0.0]]


def test_cases_share_no_run():
    keys = [{run.key for run in design.plan(Tuning(case=case, **BRANCHES), (0,))} for case in design.CASES]
    assert len(set().union(*keys)) == sum(map(len, keys))


def test_steps_are_timed(tmp_path):
    times = step_times(TUNED, tmp_path)
    assert {len(found) for found in times.values()} == {2}
    assert sum(times[GENERIC]) > sum(times[PLAIN]) > 0
