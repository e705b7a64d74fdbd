"""One loss and one gradient, however the rows of a step are cut into micro-batches and shared out over processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from one_step import LOSSES, one_step


@pytest.fixture
def teachers(tmp_path, image_teacher, loss):
    if "committee" not in loss:
        return image_teacher
    return f"{image_teacher},{tiny.save_image_teacher(tmp_path / 'other', seed=8, classes=7, size=8)}"


def same(found: dict, expected: dict) -> None:
    assert found["logged"] == pytest.approx(expected["logged"], rel=2e-4)
    assert found["gradient"] == pytest.approx(expected["gradient"], rel=2e-3, abs=2e-5)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("accumulation", [2, 4])
@pytest.mark.parametrize("rows", [16, 13], ids=["full", "ragged"])
def test_step_does_not_depend_on_how_it_is_cut(tmp_path, teachers, rows, accumulation, loss):
    whole = one_step(tmp_path, teachers, accumulation=1, rows=rows, loss=loss)
    assert len(whole["logged"]) > 2 and all(value > 0 for value in whole["logged"].values())
    same(one_step(tmp_path, teachers, accumulation=accumulation, rows=rows, loss=loss), whole)


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
def test_step_does_not_depend_on_the_number_of_processes(tmp_path, teachers, loss):
    whole = one_step(tmp_path, teachers, accumulation=1, rows=16, loss=loss)
    script = Path(__file__).with_name("one_step.py")
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv-backend", "c10d"]
    launch += ["--rdzv-endpoint", "127.0.0.1:0", str(script), str(tmp_path), teachers, "16", loss, "1", "2"]
    done = subprocess.run([sys.executable, *launch], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    for cut in json.loads((tmp_path / "steps.json").read_text()).values():
        same(cut, whole)
