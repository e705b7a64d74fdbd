"""What an evaluation says does not depend on how rows are cut into batches and shared out over processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from evaluate_rows import evaluation_loss
from torch.nn.functional import cross_entropy

from hf_ctkd.training import DistillationTrainer


@pytest.fixture
def expected():
    rows = tiny.image_rows(13, unlabelled=8, seed=5)[:5]
    images = [image.convert("RGB") for image in rows["image"]]
    with torch.no_grad():
        logits = tiny.normless_student().eval()(**tiny.processor()(images=images, return_tensors="pt")).logits
    return float(cross_entropy(logits, torch.tensor(rows["label"])))


@pytest.mark.parametrize("batch_size", [1, 2, 4, 13])
def test_loss_is_the_mean_over_labelled_rows(tmp_path, expected, batch_size):
    assert evaluation_loss(tmp_path, batch_size) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_loss_does_not_depend_on_the_number_of_processes(tmp_path, expected):
    script = Path(__file__).with_name("evaluate_rows.py")
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv-backend", "c10d"]
    launch += ["--rdzv-endpoint", "127.0.0.1:0", str(script), str(tmp_path), "1", "2", "4"]
    done = subprocess.run([sys.executable, *launch], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((tmp_path / "losses.json").read_text()) == pytest.approx([expected] * 3, rel=1e-5)


def test_loss_counts_labels_when_predictions_are_not_kept(config):
    rows = tiny.image_rows(13, unlabelled=8, seed=5)
    losses = [
        DistillationTrainer(
            tiny.image_student(),
            config(prediction_loss_only=only, per_device_eval_batch_size=4),
            eval_dataset=rows,
            processing_class=tiny.processor(),
        ).evaluate()["eval_loss"]
        for only in (False, True)
    ]
    assert losses[0] == pytest.approx(losses[1])
