import doctest
import importlib.util
import json
from dataclasses import replace

import pytest

import hf_ctkd.hub.timm
from hf_ctkd.errors import ProblemCode, TeacherUnavailableError
from hf_ctkd.hub import fetch_teacher, folder_teachers, timm
from hf_ctkd.records import TeacherCandidate

CONFIG = {"architecture": "resnet18", "num_classes": 2, "pretrained_cfg": {"input_size": [3, 224, 224]}}
WEIGHTS = b"\x02\x00\x00\x00\x00\x00\x00\x00{}"


@pytest.fixture
def installed(monkeypatch):
    """The names of packages that can be imported: torchvision, and what a test adds."""
    names = {"torchvision"}
    find = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> object:
        return (object() if name in names else None) if name in ("timm", "torchvision") else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    return names


def files(**settings) -> dict[str, bytes]:
    return {"config.json": json.dumps({**CONFIG, **settings}).encode(), "model.safetensors": WEIGHTS}


def test_example():
    assert doctest.testmod(hf_ctkd.hub.timm).failed == 0


def test_missing_packages_are_named_before_weights_are_downloaded(hub, tmp_path, installed):
    candidate = TeacherCandidate("timm/resnet18", hub.add("timm/resnet18", files()))
    with pytest.raises(TeacherUnavailableError) as refusal:
        fetch_teacher(candidate, cache_dir=tmp_path)
    assert str(refusal.value) == (
        "Teacher 'timm/resnet18' cannot be used: it is a timm model, and timm is not installed. "
        'Run `pip install "hf_ctkd[timm]"`.'
    )
    assert refusal.value.code is ProblemCode.MISSING_PACKAGE
    assert not hub.seen("resolve/.*safetensors")


def test_a_folder_of_timm_lists_its_classes_and_asks_for_the_packages(tmp_path, installed):
    for name, content in files(label_names=["cat", "dog"]).items():
        (tmp_path / name).write_bytes(content)
    [candidate] = folder_teachers(tmp_path)
    assert candidate.task == "image-classification" and candidate.label_names == ("cat", "dog")
    with pytest.raises(TeacherUnavailableError, match="timm is not installed"):
        fetch_teacher(candidate)
    installed.add("timm")
    assert fetch_teacher(replace(candidate)) == tmp_path


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (CONFIG, ("LABEL_0", "LABEL_1")),
        ({**CONFIG, "num_classes": 0}, None),
        ({**CONFIG, "model_type": "timm_wrapper", "label_names": ["a", "b"]}, ("a", "b")),
    ],
)
def test_classes_of_a_timm_configuration(config, names):
    assert timm.is_timm(config) and timm.timm_label_names(config) == names


@pytest.mark.parametrize("config", [{"architectures": ["BertModel"]}, {"architecture": "x"}, {"model_type": "vit"}])
def test_other_configurations_are_not_of_timm(config):
    assert not timm.is_timm(config)
    timm.check_packages(config)
