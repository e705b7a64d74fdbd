"""What the Space answers, without gradio, and its page where gradio is installed."""

import importlib
import re
import sys
from pathlib import Path

import pytest
import yaml

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.index import TeacherIndex
from hf_ctkd.records import TeacherCandidate

SPACE = Path(__file__).parents[2] / "examples" / "space"


@pytest.fixture
def app(import_examples, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)  # importing it would fail
    import_examples("space")
    return importlib.import_module("app")


@pytest.fixture
def folder(tmp_path):
    facts = {"task": "image-classification", "parameters": 5_000_000, "license": "mit"}
    teachers = [
        TeacherCandidate("org/pets", "ab12", label_names=("tabby cat", "dogs", "cow"), downloads=1200, **facts),
        TeacherCandidate("org/big", "ab12", label_names=("cat", "dog", "cow"), **(facts | {"parameters": 10**9})),
        TeacherCandidate("org/cars", "ab12", label_names=("sports car", "truck"), **(facts | {"license": "gpl-3.0"})),
        TeacherCandidate("org/<b>many", "ab12", label_names=tuple(f"cat breed {n}" for n in range(20)), **facts),
    ]
    TeacherIndex.build(teachers, tmp_path / "index")
    return tmp_path / "index"


def test_lines_are_text_best_first(app, folder):
    index = app.load_index(str(folder))
    lines = app.find(index, "cats, dog;cow\ncow")
    assert [line[1] for line in lines[:2]] == ["org/big", "org/pets"] and "org/cars" not in str(lines)
    assert all(len(line) == len(app.HEADER) and all(isinstance(cell, str) for cell in line) for line in lines)
    assert lines[1][2:] == ["image-classification", "5 million", "mit", "1,200", "tabby cat, dogs, cow"]
    assert next(line for line in lines if "many" in line[1])[-1].endswith("cat breed 7, and 12 more")
    assert [line[1] for line in app.find(index, "cat, dog, cow", max_millions=10, count=1)] == ["org/pets"]
    assert app.find(index, "cat", license="gpl-3.0") == []


def test_the_next_command_holds_no_name_that_a_shell_would_read(app, folder):
    lines = app.find(app.load_index(str(folder)), "cat, dog, cow")
    assert app.command_for(lines) == "hf-ctkd select --dataset DATASET --teachers org/big org/pets"
    assert app.command_for([]) == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [(" ,\n;", "Type the names of your classes, such as: cat, dog, traffic light."),
     ("x" * 101, "At most 500 names of at most 100 characters. Type the most telling ones."),
     (",".join(map(str, range(501))), "At most 500 names of at most 100 characters. Type the most telling ones.")],
)  # fmt: skip
def test_what_cannot_be_searched_for(app, text, message):
    with pytest.raises(InvalidArgumentError, match=f"^{re.escape(message)}$"):
        app.names_in(text)


def test_menus_begin_with_the_most_frequent(app, folder):
    index = app.load_index(str(folder))
    assert app.choices(index, "license") == ["any", "mit", "gpl-3.0"]
    assert app.choices(index, "task") == ["any", "image-classification"]


def test_the_metadata_starts_the_app():
    metadata = yaml.safe_load((SPACE / "README.md").read_text().split("---")[1])
    assert metadata["sdk"] == "gradio" and (SPACE / metadata["app_file"]).is_file()
    assert len(metadata["short_description"]) <= 60, "the Hub refuses a longer one"
    assert any(line.startswith("gradio") for line in (SPACE / "requirements.txt").read_text().splitlines())
