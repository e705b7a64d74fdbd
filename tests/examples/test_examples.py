"""Every example runs as its README says, on the built-in data, cut short."""

import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

from hf_ctkd.records import DistillationRecord, TeacherRanking

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SHORT = ["--teachers", "random-weights", "--max_steps", "3", "--bootstrap_resamples", "10", "--use_cpu"]
CLASSES = {"image_classification": (AutoModelForImageClassification, 10)}
CLASSES["text_classification"] = (AutoModelForSequenceClassification, 9)


@pytest.mark.parametrize("name", CLASSES)
def test_it_runs_on_built_in_data(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HF_CTKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = [EXAMPLES / name / "run.py", "--output_dir", "student", *SHORT]
    found = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False
    )
    assert found.returncode == 0, found.stderr[-3000:]
    assert "card: student/README.md" in found.stdout
    auto, classes = CLASSES[name]
    assert auto.from_pretrained(tmp_path / "student").config.num_labels == classes
    record = DistillationRecord.load(tmp_path / "student" / "distillation.json")
    assert record.training["steps"] == 3 and record.results["accuracy"].low <= record.results["accuracy"].high
    assert TeacherRanking.load(tmp_path / "student" / "ranking.json").top(1)[0].name == "random-weights"


@pytest.mark.parametrize("name", CLASSES)
def test_its_readme_names_flags_that_there_are(name):
    script = (EXAMPLES / name / "run.py").read_text()
    own = {"--dataset", "--student", "--search_limit", "--max_parameters", "--publish_as"}
    training = {"--output_dir", "--max_steps", "--learning_rate", "--per_device_train_batch_size", "--num_train_epochs"}
    launch = {"--cpu", "--multi_gpu", "--num_processes", "--help"}
    words = (EXAMPLES / name / "README.md").read_text().replace("`", " ").split()
    assert {word for word in words if word.startswith("--")} <= own | training | launch
    assert all(f"    {flag[2:]}: " in script for flag in own)


def test_every_example_is_run_here():
    assert {path.parent.name for path in EXAMPLES.glob("*/run.py")} >= set(CLASSES)
    assert all((path.parent / "README.md").is_file() for path in EXAMPLES.glob("*/run.py"))
