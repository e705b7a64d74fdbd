"""The scripts that the guides show, run as their first page says: in one folder, one after the other."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDES = ROOT / "docs" / "guides"
IN_ORDER = ["choose_a_teacher", "distil_images", "evaluate_a_student", "distil_texts", "few_labels", "lora"]
IN_ORDER += ["several_teachers", "targets"]


def _run(name, folder, cache):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_CTKD_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, GUIDES / f"{name}.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder, cache = tmp_path_factory.mktemp("guides"), tmp_path_factory.mktemp("cache")
    _run("prepare", folder, cache)
    return folder, cache


def test_every_script_is_run_and_shown():
    assert {path.stem for path in GUIDES.glob("*.py")} == {"prepare", *IN_ORDER}
    text = "".join(path.read_text() for path in GUIDES.glob("*.md"))
    assert all(f"<!-- code: docs/guides/{name}.py -->" in text for name in IN_ORDER)


@pytest.mark.parametrize("name", IN_ORDER)
def test_no_script_hides_a_library_that_it_imports(name):
    assert find_spec(name) is None, "Python looks in the folder of a script first"


@pytest.mark.guides
@pytest.mark.timeout(3600)
def test_the_guides_run(folders):
    printed = {name: _run(name, *folders) for name in IN_ORDER}
    folder = folders[0]
    assert "information_gain" in printed["choose_a_teacher"] and (folder / "ranking.json").is_file()
    assert "eval_accuracy" in printed["distil_images"] and (folder / "image-student" / "README.md").is_file()
    assert "Most confused:" in printed["evaluate_a_student"] and (folder / "evaluation" / "reliability.png").is_file()
    lines = printed["few_labels"].splitlines()
    assert [line.rpartition(" ")[0] for line in lines if " rows 0." in line or "alone 0." in line] == [
        "labels alone",
        "no teacher, unlabelled rows",
        "teacher, unlabelled rows",
    ]
    assert (folder / "lora-student" / "model.safetensors").is_file()
    assert "zero" in printed["targets"]
