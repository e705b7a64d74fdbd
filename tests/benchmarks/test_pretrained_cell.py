from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_suite import build

from benchmarks.evidence import pretrained_cell, run, student
from benchmarks.evidence.grid import DEFAULT, PLAIN
from benchmarks.evidence.pretrained import MINILM_STUDENT, NAME, pretrained_student
from benchmarks.evidence.pretrained_cell import (
    ALL,
    ARMS,
    LINEAR_PROBE,
    Job,
    PretrainedCell,
    key_of,
    measure,
    packed,
    plan,
    rates_of,
    rows_of,
    start_from_linear_probe,
    task_with,
    train,
    trials,
    unpacked,
)
from benchmarks.evidence.pretrained_report import section
from hf_ctkd.demo.students import build_student
from hf_ctkd.losses import RowTransportLoss


@pytest.fixture
def cell(tmp_path, monkeypatch):
    """A tiny encoder and a tiny student for a task of two kinds of texts."""
    monkeypatch.setattr(pretrained_cell, "STEPS", 2)
    monkeypatch.setattr(pretrained_cell, "task_with", lambda labels, seed: build(labels=8, seed=seed))
    # Threads in place of processes: starting one takes longer than all of these tests.
    monkeypatch.setattr(run, "ProcessPoolExecutor", lambda count, context, initializer: ThreadPoolExecutor(1))
    student.candidates.cache_clear()
    for seed, folder in enumerate((f"students/{MINILM_STUDENT}", f"encoder/{NAME}")):
        model, tokenizer = build_student(build(labels=8, seed=0), seed=seed)
        for part in (model.base_model, tokenizer):
            part.save_pretrained(tmp_path / folder)
    lines = []
    folders = (str(tmp_path / folder) for folder in ("encoder", "students", "work"))
    return PretrainedCell(tmp_path / "results", *folders, processes=1, say=lines.append), lines


def test_plan_decides_the_goals_first_and_ends_with_more_steps():
    jobs = plan(dict.fromkeys(ARMS, 1e-3))
    assert len(set(jobs)) == len(jobs) == 3 * 3 * 5 + 5
    assert [(job.labels, job.seed) for job in jobs[::5]] == [
        *((labels, seed) for labels in ("100", "300", ALL) for seed in (0, 1, 2)),
        ("100", 0),
    ]
    assert [job.times for job in jobs] == [1] * 45 + [3] * 5
    assert {job.seed for job in trials()} == {1000} and {job.labels for job in trials()} == {"100"}
    assert len(trials()) == 5 * 3


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_gives_a_row(cell, arm):
    cell, _ = cell
    row = train(cell, Job(arm, "100", 0, 1e-3, times=3))
    assert set(row) == set(pretrained_cell.COLUMNS) and row["error"] == "" and row["steps"] == 6
    assert unpacked(row["correct"], row["test_rows"]).mean() == pytest.approx(row["accuracy"])


def test_runs_are_tuned_made_once_and_a_failure_is_a_row(cell, monkeypatch):
    cell, lines = cell
    monkeypatch.setattr(pretrained_cell, "ARMS", {PLAIN: ARMS[PLAIN], DEFAULT: ARMS[DEFAULT]})
    monkeypatch.setattr(pretrained_cell, "LABELS", ("100",))
    monkeypatch.setattr(pretrained_cell, "SEEDS", (0, 1))
    monkeypatch.setattr(pretrained_cell, "train", _judged_by_formula)
    measure(cell, seconds=-1.0)
    assert rates_of(cell) is None and rows_of(cell) == [] and "not tuned yet" in lines[-1]
    assert "not tuned yet" in section(cell)
    measure(cell, seconds=None)
    assert rates_of(cell) == {PLAIN: 1e-4, DEFAULT: 3e-4}
    rows = rows_of(cell)
    assert len(rows) == len(cell.runs.rows()) == 6
    failed = [row for row in rows if row["error"]]
    assert [(row["arm"], row["seed"], row["error"]) for row in failed] == [(DEFAULT, "1", "ValueError: no memory")]
    assert any("failed: ValueError: no memory" in line for line in lines)
    assert "seed 1: ValueError: no memory" in section(cell)
    measure(cell, seconds=None)
    counted = [line for line in lines if "missing" in line]
    assert counted[-2:] == ["pretrained student: 6 runs, 0 missing", "pretrained student: 6 runs, 1 missing"]


def _judged_by_formula(cell, job):
    """The plain student likes the slowest rate, the other one the second."""
    if job.arm == DEFAULT and job.seed == 1:
        raise ValueError("no memory")
    liked = 1e-4 if job.arm == PLAIN else 3e-4
    outcome = {"accuracy": 0.5, "test_rows": 8, "correct": "f0", "seconds": 1.0}
    blank = pretrained_cell._blank(cell, job)
    return {**blank, **outcome, "validation_accuracy": 0.9 - abs(job.learning_rate - liked)}


def test_key_knows_all_that_shapes_a_run(cell, monkeypatch):
    cell, _ = cell
    job = Job(DEFAULT, "100", 0, 1e-3)
    changes = ({"labels": ALL}, {"seed": 1}, {"times": 3}, {"learning_rate": 1e-4}, {"arm": PLAIN})
    keys = {key_of(cell, job), *(key_of(cell, replace(job, **change)) for change in changes)}
    monkeypatch.setitem(ARMS, DEFAULT, replace(ARMS[DEFAULT], loss=lambda: RowTransportLoss(input_features=False)))
    assert len({*keys, key_of(cell, job)}) == 7


def test_linear_probe_is_what_the_head_begins_with(cell):
    cell, _ = cell
    task = build(labels=8, seed=0)
    model, tokenizer = pretrained_student(task, Path(cell.students), seed=0)
    start_from_linear_probe(model, tokenizer, task)
    with torch.no_grad():
        logits = model.eval()(**tokenizer(task.labelled["text"][:], padding=True, return_tensors="pt")).logits
    assert logits.argmax(dim=1).tolist() == task.labelled["label"][:]
    assert LINEAR_PROBE in ARMS and ARMS[LINEAR_PROBE].loss is None


def test_all_labels_are_all_but_one(monkeypatch):
    monkeypatch.setattr(pretrained_cell, "build_task", lambda name, labels, seed: build(labels=labels, seed=seed))
    monkeypatch.setattr(pretrained_cell, "LABELS", ("8", ALL))
    task_with.cache_clear()
    assert len(task_with("8", 0).labelled) == 8
    task = task_with(ALL, 0)
    task_with.cache_clear()
    assert (len(task.labelled), len(task.unlabelled)) == (39, 1)


def test_right_rows_survive_packing():
    correct = np.random.default_rng(0).random(475) < 0.6
    assert (unpacked(packed(correct), 475) == correct).all()
