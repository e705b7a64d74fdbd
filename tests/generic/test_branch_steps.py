"""One loss and one gradient, however the rows of a step are cut and shared out; the same weights on every process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from branch_steps import steps
from pools import POOLS


def same(found: dict, expected: dict) -> None:
    assert found["logged"] == pytest.approx(expected["logged"], rel=2e-4, abs=2e-5)
    assert set(found["gradient"]) == set(expected["gradient"])
    for name, gradient in expected["gradient"].items():
        assert found["gradient"][name] == pytest.approx(gradient, rel=2e-3, abs=2e-5), name


@pytest.mark.parametrize("rows", [16, 13], ids=["full", "ragged"])
def test_a_step_does_not_depend_on_how_it_is_cut(tmp_path, rows):
    # Micro-batches draw paths of their own; with a single one they are comparable.
    pool = POOLS["vit"].only(POOLS["vit"].sample(1, seed=3)[0])
    whole = steps(tmp_path, pool, accumulation=1, rows=rows)
    assert whole["logged"]["branch_kl"] > 0 and any("adapters" in name for name in whole["gradient"])
    found = steps(tmp_path, pool, accumulation=4, rows=rows)
    for one in (found, whole):
        one["logged"].pop("loss"), one["logged"].pop("architecture_loss")  # its baseline moves between micro-batches
    same(found, whole)


@pytest.mark.slow
def test_processes_draw_the_same_paths_and_keep_the_same_weights(tmp_path):
    whole = steps(tmp_path, POOLS["vit"], accumulation=1, rows=16)
    script = Path(__file__).with_name("branch_steps.py")
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv-backend", "c10d"]
    launch += ["--rdzv-endpoint", "127.0.0.1:0", str(script), str(tmp_path), "16", "4"]
    done = subprocess.run([sys.executable, *launch], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert ranks[0]["weights"] == ranks[1]["weights"]
    same(ranks[0], whole)
