"""The whole demo at a small size: one seed, few steps, two teachers."""

import json
from dataclasses import replace

import pytest
from transformers import AutoImageProcessor, AutoModelForImageClassification

from hf_ctkd.cli.main import main
from hf_ctkd.demo import run as demo
from hf_ctkd.demo import train
from hf_ctkd.demo.student_run import train_student
from hf_ctkd.demo.zoo import demo_specs
from hf_ctkd.records import DistillationRecord, RankedTeacher, TeacherCandidate, TeacherRanking


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Two teachers of one epoch, students of a few steps, all in this process."""
    monkeypatch.setenv("HF_CTKD_CACHE", str(tmp_path / "cache"))
    specs = [spec for spec in demo_specs("image") if spec.name in {"handwriting-parity", "random-weights"}]
    assert len(specs) == 2
    short = [replace(spec, epochs=min(spec.epochs, 1)) for spec in specs]
    monkeypatch.setattr(demo, "demo_specs", lambda modality: short)
    monkeypatch.setitem(demo.PLANS, "image", replace(demo.PLANS["image"], seeds=1, steps=6, plain_steps=4))
    monkeypatch.setattr(demo, "_train_all", lambda runs, *settings: [train_student(run) for run in runs])
    monkeypatch.setattr(demo.os, "cpu_count", lambda: 1)
    return tmp_path


@pytest.mark.slow
def test_demo_ranks_distills_publishes_and_prints_the_results(small, capsys):
    readme = small / "README.md"
    readme.write_text("before\n<!-- demo:begin -->\nold\n<!-- demo:end -->\nafter\n")
    folder = small / "demo"
    assert main(["demo", "--modality", "image", "--folder", str(folder), "--readme", str(readme)]) == 0
    printed = capsys.readouterr().out
    student = folder / "image-student"
    for name in ("README.md", "ranking.json", "distillation.json", "config.json", "model.safetensors"):
        assert (student / name).is_file(), name
    assert list((student / "figures").glob("*.png"))
    assert AutoModelForImageClassification.from_pretrained(student).config.num_labels == 10
    AutoImageProcessor.from_pretrained(student)

    ranking = TeacherRanking.load(student / "ranking.json")
    record = DistillationRecord.load(student / "distillation.json")
    assert len(ranking.scored) == 2
    assert record.teachers[0].candidate.name == ranking.scored[0].candidate.name
    assert record.baseline.keys() == record.results.keys() == record.gain.keys()
    accuracies = record.results["accuracy"].value, record.baseline["accuracy"].value
    assert record.gain["accuracy"].value == pytest.approx(accuracies[0] - accuracies[1])
    assert str(small) not in json.dumps([record.to_dict(), ranking.to_dict()]), "a path of this machine was published"

    for name in (demo.WITHOUT, demo.INPUT, demo.BEST, demo.CROSS, demo.RANDOM):
        assert f"\n{name}  " in printed, name
    assert "6 steps (labels alone: 4)" in printed
    page = (folder / "report.html").read_text()
    assert f"All of it on one page: {folder / 'report.html'}" in printed
    zoo = small / "cache" / "zoo" / "image"
    megabytes = sum(file.stat().st_size for file in zoo.rglob("*") if file.is_file()) / 1e6
    assert f"Teachers are kept in {zoo} ({megabytes:.1f} MB) for the next run. Delete them" in printed
    assert str(small) not in page
    for name in ("handwriting-parity", "random-weights", demo.BEST, demo.WITHOUT):
        assert name in page, name
    assert f"{100 * record.results['accuracy'].value:.1f}" in printed
    summary = (folder / "summary.txt").read_text()
    assert summary.strip() in readme.read_text() and "old" not in readme.read_text()


@pytest.mark.parametrize("modality", ["image", "text"])
def test_a_teacher_that_was_never_trained_is_a_control(tmp_path, modality):
    record = {"rows": 1, "classes": 2, "held_out_accuracy": 0.5, "held_out_rows": 1}
    for spec in demo_specs(modality):
        (tmp_path / spec.name).mkdir()
        (tmp_path / spec.name / "config.json").write_text("{}")
        (tmp_path / spec.name / "README.md").write_text(train._card(spec, record))
    candidates = demo.zoo_candidates(modality, tmp_path)
    assert len(candidates) == len(demo_specs(modality)) > 2
    assert [candidate.name for candidate in candidates if candidate.is_control] == ["random-weights"]


DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def _ranking(**label_names):
    """A ranking of teachers, the best first."""
    candidates = [
        TeacherCandidate(
            f"/zoo/{name.replace('_', '-')}", "r", "folder", label_names=names, untrained=name == "random_weights"
        )
        for name, names in label_names.items()
    ]
    return TeacherRanking(tuple(RankedTeacher(candidate, {}, rows=50) for candidate in candidates), "information_gain")


def _teachers(runs):
    return {
        kind: [None if run.teacher is None else run.teacher.name for run in of_kind] for kind, of_kind in runs.items()
    }


def test_the_best_teacher_of_another_task_is_compared_with_the_best(tmp_path):
    plan = replace(demo.PLANS["image"], seeds=2, steps=30, plain_steps=10)
    first = _ranking(encoder=None, same=DIGITS, random_weights=("a", "b"))
    second = _ranking(more=(*DIGITS, "ten"), random_weights=("a", "b"), parity=("even", "odd"))
    runs = demo.student_runs(plan, [first, second], tmp_path / "out")
    assert _teachers(runs) == {
        demo.WITHOUT: [None, None],
        demo.INPUT: [None, None],
        demo.BEST: ["encoder", "more"],
        demo.CROSS: ["encoder", "parity"],
        demo.RANDOM: ["random-weights"] * 2,
    }
    assert runs[demo.CROSS][0] is runs[demo.BEST][0], "trained once, and the one that is published"
    assert len({run for of_kind in runs.values() for run in of_kind}) == 9
    assert {run.steps for run in runs[demo.WITHOUT]} == {10}
    assert {run.steps for kind, of_kind in runs.items() if kind != demo.WITHOUT for run in of_kind} == {30}
    published = [run for of_kind in runs.values() for run in of_kind if run.ranking]
    assert {run.teacher.name for run in published} == {"encoder"} and (tmp_path / "out" / "ranking.json").is_file()


def test_a_kind_of_student_without_its_teacher_is_left_out(tmp_path):
    plan = replace(demo.PLANS["image"], seeds=1)
    assert demo.CROSS not in demo.student_runs(plan, [_ranking(same=DIGITS)], tmp_path / "out")


def test_readme_without_marks_is_refused_and_left_alone(small, capsys, monkeypatch):
    monkeypatch.setattr(demo, "run_demo", lambda *args, **kwargs: [])
    readme = small / "README.md"
    readme.write_text("mine\n")
    assert main(["demo", "--readme", str(readme), "--folder", str(small / "demo")]) == 1
    assert "demo:begin" in capsys.readouterr().err
    assert readme.read_text() == "mine\n"


def test_a_folder_that_cannot_be_made_is_refused_before_the_work(small, capsys, monkeypatch):
    monkeypatch.setattr(demo, "run_demo", None)
    (small / "file").write_text("in the way")
    assert main(["demo", "--folder", str(small / "file")]) == 1
    error = capsys.readouterr().err
    assert f"`--folder` {small / 'file'} is a file. Name a folder." in error
