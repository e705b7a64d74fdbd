"""The example of segmentation and depth students runs as its README says, for one step."""

from pathlib import Path

import pytest
from transformers import AutoModelForDepthEstimation, AutoModelForSemanticSegmentation

from hf_ctkd.records import DistillationRecord

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "dense_prediction"
SHORT = {"scenes": 12, "labelled": 6, "test_scenes": 6, "max_steps": 1, "bootstrap_resamples": 10}


@pytest.mark.parametrize(
    ("column", "auto", "metric"),
    [("mask", AutoModelForSemanticSegmentation, "mean_iou"), ("depth", AutoModelForDepthEstimation, "abs_rel")],
)
def test_it_runs_on_built_in_data(column, auto, metric, run_example, tmp_path):
    flags = [word for name, value in SHORT.items() for word in (f"--{name}", value)]
    flags += ["--teacher", "random-weights", "--tasks", column, "--output_dir", "students", "--use_cpu"]
    printed = run_example("dense_prediction/run.py", *flags, "--save_strategy", "no")
    assert printed.count(f"{metric} 0.") + printed.count(f"{metric} 1.") == 4
    losses = []
    for number in range(4):
        folder = tmp_path / "students" / column / str(number)
        auto.from_pretrained(folder)
        assert auto.__name__ in (folder / "README.md").read_text()
        record = DistillationRecord.load(folder / "distillation.json")
        assert (record.task.labelled_rows, record.task.train_rows) == (6, 12 if number else 6)
        losses.append(record.loss.name)
    assert losses == ["none", "spectral", "inverted_projection", "inverted_projection"]


def test_its_readme_names_existing_flags():
    words = (EXAMPLE / "README.md").read_text().replace("`", " ").split()
    training = {"--max_steps", "--per_device_train_batch_size", "--learning_rate", "--cache_student_inputs"}
    assert {word for word in words if word.startswith("--")} <= {
        *training,
        "--output_dir",
        "--save_strategy",
        "--use_cpu",
        # of benchmark.py
        "--results",
        "--minutes",
    }
