"""The examples of classification run as their READMEs say, on built-in data and for a few steps."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

from hf_ctkd.records import DistillationRecord, TeacherRanking

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SHORT = ["--teachers", "random-weights", "--max_steps", "3", "--bootstrap_resamples", "10", "--use_cpu"]
AUTO = {
    "image_classification": AutoModelForImageClassification,
    "text_classification": AutoModelForSequenceClassification,
}


@pytest.mark.parametrize("name", AUTO)
def test_it_runs_on_built_in_data(name, run_example, tmp_path):
    printed = run_example(f"{name}/run.py", "--output_dir", "student", *SHORT)
    assert "card: student/README.md" in printed
    student = AUTO[name].from_pretrained(tmp_path / "student")
    # The classes of the texts are the sub-packages of a library: their number depends on its version.
    assert student.config.num_labels == (10 if name == "image_classification" else len(student.config.id2label)) > 5
    assert "LABEL_0" not in student.config.label2id
    record = DistillationRecord.load(tmp_path / "student" / "distillation.json")
    assert record.training["steps"] == 3 and record.results["accuracy"].low <= record.results["accuracy"].high
    assert TeacherRanking.load(tmp_path / "student" / "ranking.json").top(1)[0].name == "random-weights"


def test_a_script_starts_in_a_process_of_its_own(tmp_path):
    """The others run in this process; this one imports its neighbours, so it shows that their folder is found."""
    completed = subprocess.run(
        [sys.executable, EXAMPLES / "committee" / "recommendation.py", "--help"],
        cwd=tmp_path, capture_output=True, text=True, timeout=280, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert completed.returncode == 0, completed.stderr[-3000:]
    assert "--text_teacher" in completed.stdout


@pytest.mark.parametrize("name", AUTO)
def test_its_readme_names_existing_flags(name):
    script = (EXAMPLES / name / "run.py").read_text()
    script_flags = {"--dataset", "--student", "--search_limit", "--max_parameters", "--publish_as"}
    training = {"--output_dir", "--max_steps", "--learning_rate", "--per_device_train_batch_size", "--num_train_epochs"}
    launch = {"--cpu", "--multi_gpu", "--num_processes", "--help"}
    words = (EXAMPLES / name / "README.md").read_text().replace("`", " ").split()
    assert {word for word in words if word.startswith("--")} <= script_flags | training | launch
    assert all(f"    {flag[2:]}: " in script for flag in script_flags)


def test_every_example_has_a_readme_and_these_are_among_them():
    assert {path.parent.name for path in EXAMPLES.glob("*/run.py")} >= set(AUTO)
    assert all((path.parent / "README.md").is_file() for path in EXAMPLES.glob("*/run.py"))
