from dataclasses import replace

import pytest
from tiny_suite import build

from benchmarks.evidence import student
from benchmarks.evidence.grid import ALONE, CONTROLS, METHODS, PLAIN, Cell, Run
from benchmarks.evidence.settings import Settings
from benchmarks.evidence.store import RUNS
from benchmarks.evidence.student import Job, RunSettings, key_of, loss_of, train
from hf_ctkd.demo.students import build_student
from hf_ctkd.errors import InvalidArgumentError

CELL = Cell("tiny_suite:build", 8)


@pytest.fixture
def job(tmp_path):
    student.candidates.cache_clear()
    model, tokenizer = build_student(build(labels=8, seed=0), seed=5)
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "zoo" / "stranger")
    run_settings = RunSettings({"text": (str(tmp_path / "zoo"),)}, str(tmp_path / "work"))

    def make(method=PLAIN, **changes):
        return Job(Run(CELL, method, 0, **changes), Settings(steps=3), Settings(steps=3), run_settings)

    return make


@pytest.mark.parametrize("method", ["default", *CONTROLS])
def test_every_arm_of_the_main_claim_gives_a_row(job, method):
    row = train(job(method, teacher="stranger" if method == "default" else ""))
    assert set(row) == set(RUNS)
    assert (row["method"], row["steps"], row["error"], row["task"]) == (method, 3, "", CELL.task)
    for name in ("accuracy", "macro_f1", "validation_accuracy"):
        assert 0 <= row[name] <= 1


def test_the_same_job_has_the_same_outcome(job):
    first, second = (train(job("default", teacher="stranger")) for _ in range(2))
    assert {**first, "seconds": 0} == {**second, "seconds": 0}


def test_accuracies_are_those_of_test_and_validation_rows(job, monkeypatch):
    task = build(labels=8, seed=0)
    seen = []
    monkeypatch.setattr(student, "measured", lambda trainer, rows: seen.append(rows["text"][:]) or (0.25, 0.5))
    row = train(job())
    assert seen == [task.test["text"][:], task.validation["text"][:]]
    assert (row["accuracy"], row["macro_f1"], row["validation_accuracy"]) == (0.25, 0.5, 0.25)


def test_self_training_learns_from_the_plain_student_of_its_cell_whoever_came_first(job, monkeypatch):
    train(job("self-training"))
    folders = list((student.Path(job().run_settings.work) / "students").iterdir())
    assert len(folders) == 1
    written = (folders[0] / "model.safetensors").read_bytes()
    train(job())
    assert list(folders[0].parent.iterdir()) == folders, "the plain run keeps its student where self-training looks"
    assert (folders[0] / "model.safetensors").read_bytes() == written


def test_the_key_knows_all_that_shapes_the_outcome(job):
    one = job("default", teacher="stranger")
    keys = {key_of(one, "text")}
    keys.add(key_of(replace(one, settings=Settings(1e-4, steps=3)), "text"))
    keys.add(key_of(replace(one, settings=Settings(steps=9)), "text"))
    keys.add(key_of(replace(one, run=replace(one.run, times=3)), "text"))
    keys.add(key_of(replace(one, run=replace(one.run, seed=1)), "text"))
    keys.add(key_of(replace(one, run=replace(one.run, method="probe")), "text"))
    assert len(keys) == 6
    assert key_of(one, "text") == key_of(job("default", teacher="stranger"), "text")
    assert key_of(replace(one, plain=Settings(1e-4)), "text") == key_of(one, "text")
    own = job("self-training")
    assert key_of(replace(own, plain=Settings(1e-4)), "text") != key_of(own, "text")


def test_a_run_at_three_times_its_steps_takes_as_many_and_leaves_no_student_for_self_training(job):
    row = train(job(times=3))
    assert (row["steps"], row["times"]) == (9, 3)
    assert not (student.Path(job().run_settings.work) / "students").exists()


def test_an_unknown_teacher_and_an_unknown_loss_are_named(job):
    with pytest.raises(InvalidArgumentError, match="`teacher` 'nobody' is in none of the zoos"):
        train(job("default", teacher="nobody"))
    with pytest.raises(InvalidArgumentError, match="unknown"):
        loss_of("nonsense")


def test_every_arm_has_a_loss_and_losses_join_by_name():
    for method in (*METHODS, *CONTROLS, *ALONE):
        assert (loss_of(method) is None) == (method == PLAIN)
    assert type(loss_of("hf_ctkd.losses.kl:KLLoss")).__name__ == "KLLoss"
