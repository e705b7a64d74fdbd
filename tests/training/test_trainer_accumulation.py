"""One loss and one gradient, however the rows of a step are cut into micro-batches and shared out over processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from one_step import LOSSES, for_loss, one_step


@pytest.fixture(scope="module")
def both(tmp_path_factory, image_teacher):
    other = tiny.save_image_teacher(tmp_path_factory.mktemp("teachers") / "other", seed=8, classes=7, size=8)
    return f"{image_teacher},{other}"


@pytest.fixture
def teachers(both, loss):
    return for_loss(loss, both)


@pytest.fixture(scope="module")
def on_two_processes(both, tmp_path_factory):
    """Steps of every loss, in one piece and in two, all out of one launch: starting processes is what takes long."""
    folder = tmp_path_factory.mktemp("two")
    script = Path(__file__).with_name("one_step.py")
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv-backend", "c10d"]
    launch += ["--rdzv-endpoint", "127.0.0.1:0", str(script), str(folder), both, "16", "1", "2"]
    done = subprocess.run([sys.executable, *launch], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "steps.json").read_text())


@pytest.fixture(scope="module")
def uncut_step(both, tmp_path_factory):
    """Gives the step in one piece that every test of the same loss and rows compares with; each is made once."""
    steps = {}

    def make(loss, rows):
        if (loss, rows) not in steps:
            folder = tmp_path_factory.mktemp("uncut")
            steps[loss, rows] = one_step(folder, for_loss(loss, both), accumulation=1, rows=rows, loss=loss)
        return steps[loss, rows]

    return make


def same(step: dict, expected: dict) -> None:
    assert step["logged"] == pytest.approx(expected["logged"], rel=2e-4)
    assert step["gradient"] == pytest.approx(expected["gradient"], rel=2e-3, abs=2e-5)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("accumulation", [2, 4])
@pytest.mark.parametrize("rows", [16, 13], ids=["full", "ragged"])
def test_step_does_not_depend_on_how_it_is_cut(tmp_path, teachers, uncut_step, rows, accumulation, loss):
    whole = uncut_step(loss, rows)
    assert len(whole["logged"]) > 2 and all(value > 0 for value in whole["logged"].values())
    same(one_step(tmp_path, teachers, accumulation=accumulation, rows=rows, loss=loss), whole)


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
def test_step_does_not_depend_on_the_number_of_processes(uncut_step, on_two_processes, loss):
    whole = uncut_step(loss, 16)
    assert len(on_two_processes[loss]) == 2
    for cut in on_two_processes[loss]:
        same(cut, whole)
