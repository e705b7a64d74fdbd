"""The committee examples run as their README says, on the built-in data, cut short."""

import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

from hf_ctkd.records import DistillationRecord

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "committee"
SHORT = ["--output_dir", "student", "--max_steps", "3", "--bootstrap_resamples", "10", "--use_cpu"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HF_CTKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def call(script, *words):
        done = subprocess.run(
            [sys.executable, EXAMPLE / script, *SHORT, *words],
            cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout, DistillationRecord.load(tmp_path / "student" / "distillation.json")

    return call


@pytest.mark.parametrize(
    ("modality", "auto"), [("image", AutoModelForImageClassification), ("text", AutoModelForSequenceClassification)]
)
def test_a_committee_on_built_in_data(run, tmp_path, modality, auto):
    said, record = run("run.py", "--modality", modality, "--teachers", "random-weights", "--top_k", "1")
    assert "card: student/README.md" in said and "importance 1.00  random-weights" in said
    auto.from_pretrained(tmp_path / "student")
    assert record.loss.name == "committee" and record.loss.settings["top_k"] == 1
    assert [one.candidate.name for one in record.teachers] == ["random-weights"]


@pytest.mark.parametrize("unknown", ["nobody", "handwriting"])
def test_a_teacher_that_is_not_to_be_had_is_refused(tmp_path, monkeypatch, unknown):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = subprocess.run(
        [sys.executable, EXAMPLE / "run.py", *SHORT, "--teachers", "random-weights", unknown],
        cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and f"got '{unknown}'." in done.stderr and "`teachers` must be of " in done.stderr


def test_a_recommender_of_two_kinds_of_teachers(run, tmp_path):
    said, record = run("recommendation.py", "--text_teacher", "random-weights", "--epochs", "1")
    for name in ("without a teacher", "text model", "two-tower model", "committee"):
        assert f"  {name}\n" in said
    assert [one.candidate.role for one in record.teachers] == ["foundation", "complementary"]
    card = (tmp_path / "student" / "README.md").read_text()
    assert "two-tower (complementary)" in card and "(foundation)" in card
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "student")
    assert model.config.id2label == {0: "unrelated", 1: "see also"}


def test_pairs_are_what_docstrings_name(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    from links import pools, see_also

    about, pairs = see_also()
    assert len(pairs) > 1000 and all(one in about and two in about and one != two for one, two in pairs)
    assert ("fft", "ifft") in pairs and about["ifft"].startswith("ifft: ")
    teacher, student = pools()
    looked_at = [
        {text.partition(":")[0] for text in rows["text"][:]}
        for rows in (teacher, student.train, student.validation, student.test)
    ]
    for place, one in enumerate(looked_at):
        assert one and not any(one & other for other in looked_at[place + 1 :])
    for rows in (teacher, student.train, student.test):
        assert sum(rows["label"][:]) * 2 == len(rows)


def test_a_two_tower_teacher_learns_its_pairs(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    from links import pools
    from two_tower import train_two_tower

    rows = pools()[0]
    teacher = train_two_tower(rows, epochs=4)
    outputs = teacher.outputs(teacher.collate(rows["text"][:]))
    right = [int(one) == label for one, label in zip(outputs.logits.argmax(1), rows["label"][:], strict=True)]
    assert sum(right) / len(right) > 0.7
    assert teacher.reader.head is teacher.model.classifier
    again = train_two_tower(rows, epochs=4)
    assert again.candidate.revision == teacher.candidate.revision


def test_its_readme_names_flags_that_there_are():
    words = (EXAMPLE / "README.md").read_text().replace("`", " ").split()
    own = {"--modality", "--top_k"}
    training = {"--output_dir", "--max_steps", "--learning_rate", "--per_device_train_batch_size"}
    training |= {"--cache_teacher_outputs", "--resident_teachers"}
    commands = {"--teachers", "--loss", "--roles", "--help", "--committee", "--ranking", "--output"}
    assert {word for word in words if word.startswith("--")} <= own | training | commands
    script = (EXAMPLE / "run.py").read_text()
    assert all(f"    {flag[2:]}: " in script for flag in own)
