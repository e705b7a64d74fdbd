import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tiny_suite import build

from benchmarks.evidence import run, student
from benchmarks.evidence.grid import DEFAULT, PLAIN, SCORES, TEACHERS, Cell, Extras, Run
from benchmarks.evidence.run import Suite, measure
from benchmarks.evidence.settings import Settings, Tuned
from benchmarks.evidence.student import RunSettings
from hf_ctkd.demo.students import build_student

CELL = Cell("tiny_suite:build", 8)


@pytest.fixture
def suite(tmp_path, monkeypatch):
    short = dict.fromkeys((PLAIN, DEFAULT), Settings(steps=2))
    Tuned({"text": short}).save(tmp_path / "results" / "tuning.json", [])
    # Threads in place of processes: starting one takes longer than all of these tests.
    monkeypatch.setattr(run, "ProcessPoolExecutor", lambda count, context, initializer: ThreadPoolExecutor(1))
    student.candidates.cache_clear()
    model, tokenizer = build_student(build(labels=8, seed=0), seed=5)
    for name in ("stranger", TEACHERS["text"][0]):
        for part in (model, tokenizer):
            part.save_pretrained(tmp_path / "zoo" / name)
    said = []
    run_settings = RunSettings({"text": (str(tmp_path / "zoo"),)}, str(tmp_path / "work"))
    made = Suite(
        tmp_path / "results", run_settings, Extras([CELL], {"text": ("stranger",)}), processes=1, say=said.append
    )
    return made, said


def test_a_failure_becomes_a_row_and_does_not_end_the_others(suite):
    suite, said = suite
    planned = [Run(CELL, "nonsense", 0), Run(CELL, PLAIN, 0)]
    # The key of an unknown loss cannot be made, so the plan itself is refused.
    with pytest.raises(Exception, match="unknown"):
        measure(suite, planned, seconds=None)
    planned = [Run(CELL, "hf_ctkd.losses:KLLoss", 0, "stranger"), Run(CELL, PLAIN, 0)]
    build_other = Run(Cell("tiny_suite:build", 1), PLAIN, 0)  # one label for two classes
    measure(suite, [*planned, build_other], seconds=None)
    rows = {(row["method"], row["labels"]): row for row in suite.runs.rows()}
    assert rows[PLAIN, "8"]["error"] == ""
    assert "InvalidArgumentError: `labels`" in rows[PLAIN, "1"]["error"]
    assert any("failed" in line for line in said)
    assert len(suite.runs.done()) == 3 - sum(bool(row["error"]) for row in rows.values())


def test_only_missing_runs_are_made(suite, monkeypatch):
    suite, said = suite
    planned = [Run(CELL, PLAIN, 0), Run(CELL, PLAIN, 1)]
    measure(suite, planned[:1], seconds=None)
    made = []
    train = run.train
    monkeypatch.setattr(run, "train", lambda job: made.append(job.run) or train(job))
    measure(suite, planned, seconds=None)
    assert made == planned[1:]
    assert "2 runs planned, 1 missing" in said[-2]


def test_no_run_starts_that_would_end_too_late(suite, monkeypatch):
    suite, _ = suite
    made = []

    def slow(suite, job):
        made.append(job)
        time.sleep(0.2)

    monkeypatch.setattr(run, "work", slow)
    monkeypatch.setattr(run, "FIRST_GUESS", 0.1)
    started = time.monotonic()
    measure(suite, [Run(CELL, PLAIN, seed) for seed in range(20)], seconds=1.0)
    assert 2 <= len(made) <= 4
    assert time.monotonic() - started < 1.3


def _slowly(made):
    def make(job):
        time.sleep(0.05)
        made.append(job)

    return make


def test_a_run_of_many_steps_is_not_begun_where_a_short_one_still_would_be(suite):
    made = []
    options = {"processes": 1, "weight": lambda job: job, "say": lambda line: None, "guess": 0.1}
    run.in_processes([1, 1, 100, 1], _slowly(made), made.append, until=time.monotonic() + 1.0, **options)
    assert made == [1, 1]


def test_a_ranking_gives_a_score_for_each_teacher_that_is_there(suite):
    suite, _ = suite
    measure(suite, [Run(CELL, SCORES, 0)], seconds=None)
    rows = suite.scores.rows()
    assert {row["teacher"] for row in rows} == {"stranger", TEACHERS["text"][0]}
    assert {"information_gain", "logme", "random", "parameters"} <= {row["metric"] for row in rows}
