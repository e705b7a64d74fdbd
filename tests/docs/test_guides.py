"""The scripts that the guides show, run as their first page says: in one folder, one after the other."""

import re
from importlib.util import find_spec

import pytest

from docs.generate.outputs import GUIDES, IN_ORDER, OUTPUTS, PREPARE, run


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder, cache = tmp_path_factory.mktemp("guides"), tmp_path_factory.mktemp("cache")
    run(PREPARE, folder, cache)
    return folder, cache


def test_every_script_is_run_and_shown():
    assert {path.stem for path in GUIDES.glob("*.py")} == {PREPARE, *IN_ORDER}
    text = "".join(path.read_text() for path in GUIDES.glob("*.md"))
    assert all(f"<!-- code: docs/guides/{name}.py -->" in text for name in IN_ORDER)
    assert set(re.findall("<!-- output: (.*) -->", text)) == {path.stem for path in OUTPUTS.glob("*.txt")}


@pytest.mark.parametrize("name", IN_ORDER)
def test_no_script_hides_a_library_that_it_imports(name):
    assert find_spec(name) is None, "Python looks in the folder of a script first"


@pytest.mark.guides
@pytest.mark.timeout(3600)
def test_the_guides_run(folders):
    printed = {name: run(name, *folders) for name in IN_ORDER}
    folder = folders[0]
    assert "information_gain" in printed["choose_a_teacher"] and (folder / "ranking.json").is_file()
    assert "accuracy 0." in printed["distil_images"] and (folder / "image-student" / "README.md").is_file()
    assert "Most confused:" in printed["evaluate_a_student"] and (folder / "evaluation" / "reliability.png").is_file()
    lines = printed["few_labels"].splitlines()
    assert [line.rpartition(" ")[0] for line in lines if " rows 0." in line or "alone 0." in line] == [
        "labels alone",
        "no teacher, unlabelled rows",
        "teacher, unlabelled rows",
    ]
    assert (folder / "lora-student" / "model.safetensors").is_file()
    assert "zero" in printed["targets"]
    # The first words of what the pages show; numbers differ by machine, and so may the order of close teachers.
    for name in {path.stem for path in OUTPUTS.glob("*.txt")} - {PREPARE}:
        shown = (OUTPUTS / f"{name}.txt").read_text(encoding="utf-8")
        assert re.findall("[a-z]{3,}", shown)[:3] == re.findall("[a-z]{3,}", printed[name])[:3], name
