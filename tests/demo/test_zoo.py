import dataclasses

import numpy as np
import pytest

from hf_ctkd.demo import zoo
from hf_ctkd.demo.architectures import IMAGE_ARCHITECTURES, TEXT_ARCHITECTURES
from hf_ctkd.demo.tasks import build_task
from hf_ctkd.demo.zoo import TeacherSpec, all_specs, demo_specs, specs_named, teacher_rows
from hf_ctkd.errors import InvalidArgumentError


@pytest.mark.parametrize(("modality", "known"), [("image", IMAGE_ARCHITECTURES), ("text", TEXT_ARCHITECTURES)])
def test_the_zoo_is_large_varied_and_holds_controls(modality, known):
    specs = all_specs(modality)
    assert len(specs) >= 12 and len({spec.name for spec in specs}) == len(specs)
    assert set(demo_specs(modality)) < set(specs)
    assert any(spec.epochs == 0 for spec in demo_specs(modality)) and not all(spec.head for spec in specs)
    assert {spec.architecture for spec in specs} == set(known)


def test_teachers_are_chosen_by_name_and_an_unknown_one_is_refused():
    known = demo_specs("text")
    assert specs_named([], known) == list(known)
    assert [spec.name for spec in specs_named([known[2].name, known[0].name], known)] == [known[0].name, known[2].name]
    with pytest.raises(InvalidArgumentError, match=f"`teachers` must be of {known[0].name}, .*, got 'nobody'."):
        specs_named(["random-weights", "nobody"], known)


def test_image_specs_have_rows_that_no_student_has(monkeypatch):
    monkeypatch.setattr(zoo, "GLYPHS_PER_CLASS", 16)
    monkeypatch.setattr(zoo, "FEWEST_GLYPHS", 0)
    tasks = [build_task(name, labels=100, seed=0) for name in ("digits", "greek-letters")]
    students = {image.tobytes() for task in tasks for image in task.train()["image"]}
    related = {
        spec.data: spec for spec in all_specs("image") if spec.data in ("handwriting", "digits", "greek", "photos")
    }
    for spec in related.values():
        rows = teacher_rows(spec)
        assert not students & {image.tobytes() for image in rows["image"]}, spec.name
        assert min(np.bincount(rows["label"][:])) >= 8


def test_groupings_of_handwriting():
    spec = TeacherSpec("x", "image", "handwriting", "high half", "resnet", 1)
    assert teacher_rows(spec).features["label"].names == ["five", "six", "seven", "eight", "nine"]
    pairs = teacher_rows(dataclasses.replace(spec, grouping="pairs"))
    assert pairs.features["label"].names[1] == "two or three" and len(pairs) == 700


def test_text_groupings(monkeypatch):
    monkeypatch.setattr(zoo, "FEWEST_ROWS_OF_A_CLASS", 10)
    monkeypatch.setattr(zoo, "MOST_ROWS_OF_A_CLASS", 30)
    spec = TeacherSpec("x", "text", "accelerate", "each", "bert", 1)
    assert "utils" in teacher_rows(spec).features["label"].names
    assert max(np.bincount(teacher_rows(spec)["label"][:])) == 30
    assert "method" in teacher_rows(dataclasses.replace(spec, grouping="kind")).features["label"].names
    both = teacher_rows(dataclasses.replace(spec, data="accelerate+evaluate", grouping="library"))
    assert both.features["label"].names == ["accelerate", "evaluate"] and set(both["label"][:]) == {0, 1}


def test_a_key_follows_every_field():
    spec = TeacherSpec("x", "image", "digits", "each", "resnet", 1)
    assert spec.key() == dataclasses.replace(spec).key()
    assert len({spec.key(), dataclasses.replace(spec, seed=1).key(), dataclasses.replace(spec, epochs=2).key()}) == 3


@pytest.mark.parametrize(
    ("modality", "data", "grouping", "message"),
    [
        ("image", "runes", "each", "`data` 'runes' of teacher 'x' is unknown"),
        ("image", "handwriting", "triples", "`grouping` 'triples' of teacher 'x' is unknown"),
        ("text", "scipy+numpy", "each", "`grouping` 'each' of teacher 'x' does not fit `data`"),
    ],
)
def test_unknown_data_and_groupings_are_refused(modality, data, grouping, message):
    with pytest.raises(InvalidArgumentError, match=message.replace("+", r"\+")):
        teacher_rows(TeacherSpec("x", modality, data, grouping, "resnet", 1))
