"""The whole demo in small: one seed, few steps, two teachers."""

import json
from dataclasses import replace

import pytest
from transformers import AutoImageProcessor, AutoModelForImageClassification

from hf_ctkd.cli.main import main
from hf_ctkd.demo import run as demo
from hf_ctkd.demo.arms import train_arm
from hf_ctkd.demo.zoo import demo_specs
from hf_ctkd.records import DistillationRecord, TeacherRanking


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Two teachers of one epoch, students of a few steps, all in this process."""
    monkeypatch.setenv("HF_CTKD_CACHE", str(tmp_path / "cache"))
    specs = [spec for spec in demo_specs("image") if spec.name in {"handwriting-parity", "random-weights"}]
    assert len(specs) == 2
    short = [replace(spec, epochs=min(spec.epochs, 1)) for spec in specs]
    monkeypatch.setattr(demo, "demo_specs", lambda modality: short)
    monkeypatch.setitem(demo.PLANS, "image", replace(demo.PLANS["image"], seeds=1, steps=6))
    monkeypatch.setattr(demo, "_train_all", lambda arms, processes, title: [train_arm(arm) for arm in arms])
    monkeypatch.setattr(demo.os, "cpu_count", lambda: 1)
    return tmp_path


@pytest.mark.slow
def test_demo_ranks_distills_publishes_and_says_what_came_out(small, capsys):
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
    assert "accuracy" in record.baseline and "accuracy" in record.results
    assert str(small) not in json.dumps([record.to_dict(), ranking.to_dict()]), "a path of this machine was published"

    assert "best teacher" in printed and f"{100 * record.results['accuracy'].value:.1f}" in printed
    summary = (folder / "summary.txt").read_text()
    assert summary.strip() in readme.read_text() and "old" not in readme.read_text()


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
    assert "`--folder`: " in capsys.readouterr().err
