"""The committee examples run as their README says, on built-in data and for a few steps."""

import sys
from pathlib import Path

import pytest
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records import DistillationRecord

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "committee"
SHORT = ["--output_dir", "student", "--max_steps", "3", "--bootstrap_resamples", "10", "--use_cpu"]


@pytest.fixture
def run(run_example, tmp_path):
    def call(script, *flags):
        printed = run_example(f"committee/{script}", *SHORT, *flags)
        return printed, DistillationRecord.load(tmp_path / "student" / "distillation.json")

    return call


@pytest.mark.parametrize(
    ("modality", "auto"), [("image", AutoModelForImageClassification), ("text", AutoModelForSequenceClassification)]
)
def test_a_committee_on_built_in_data(run, tmp_path, modality, auto):
    printed, record = run("run.py", "--modality", modality, "--teachers", "random-weights", "--top_k", "1")
    assert "card: student/README.md" in printed and "importance 1.00  random-weights" in printed
    auto.from_pretrained(tmp_path / "student")
    assert record.loss.name == "committee" and record.loss.settings["top_k"] == 1
    assert [teacher.candidate.name for teacher in record.teachers] == ["random-weights"]


@pytest.mark.parametrize("unknown", ["nobody", "handwriting"])
def test_an_unknown_teacher_and_that_of_the_same_task_are_refused(run_example, unknown):
    with pytest.raises(InvalidArgumentError, match=f"`teachers` must be of .*, got '{unknown}'."):
        run_example("committee/run.py", *SHORT, "--teachers", "random-weights", unknown)


def test_a_recommender_of_two_kinds_of_teachers(run, tmp_path):
    printed, record = run("recommendation.py", "--text_teacher", "random-weights", "--epochs", "1")
    for name in ("without a teacher", "text model", "two-tower model", "committee"):
        assert f"  {name}\n" in printed
    assert [teacher.candidate.role for teacher in record.teachers] == ["foundation", "complementary"]
    card = (tmp_path / "student" / "README.md").read_text()
    assert "two-tower (complementary)" in card and "(foundation)" in card
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "student")
    assert model.config.id2label == {0: "unrelated", 1: "see also"}


@pytest.fixture(scope="module", autouse=True)
def _parse_scipy_once():
    """The sources of SciPy take seconds to parse; the module that caches them stays imported for this file."""
    sys.path.insert(0, str(EXAMPLE))
    import links

    links.see_also("scipy")
    yield
    sys.path.remove(str(EXAMPLE))
    del sys.modules["links"]


def test_pairs_are_those_that_docstrings_name():
    from links import pools, see_also

    summaries, pairs = see_also("scipy")
    assert len(pairs) > 1000
    assert all(first in summaries and second in summaries and first != second for first, second in pairs)
    assert ("fft", "ifft") in pairs and summaries["ifft"].startswith("ifft: ")
    teacher, student = pools()
    first_functions = [
        {text.partition(":")[0] for text in rows["text"][:]}
        for rows in (teacher, student.train, student.validation, student.test)
    ]
    for index, functions in enumerate(first_functions):
        assert functions and not any(functions & others for others in first_functions[index + 1 :])
    for rows in (teacher, student.train, student.test):
        assert sum(rows["label"][:]) * 2 == len(rows)


def test_a_two_tower_teacher_learns_its_pairs(import_examples):
    import_examples("committee")
    from links import pools
    from two_tower import train_two_tower

    rows = pools()[0]
    teacher = train_two_tower(rows, epochs=4)
    outputs = teacher.outputs(teacher.collate(rows["text"][:]))
    right = [
        int(prediction) == label for prediction, label in zip(outputs.logits.argmax(1), rows["label"][:], strict=True)
    ]
    assert sum(right) / len(right) > 0.7
    assert teacher.reader.head is teacher.model.classifier
    again = train_two_tower(rows, epochs=4)
    assert again.candidate.revision == teacher.candidate.revision


def test_its_readme_names_existing_flags():
    words = (EXAMPLE / "README.md").read_text().replace("`", " ").split()
    script_flags = {"--modality", "--top_k"}
    training = {"--output_dir", "--max_steps", "--learning_rate", "--per_device_train_batch_size"}
    training |= {"--cache_teacher_outputs", "--resident_teachers"}
    commands = {"--teachers", "--loss", "--roles", "--help", "--committee", "--ranking", "--output"}
    assert {word for word in words if word.startswith("--")} <= script_flags | training | commands
    script = (EXAMPLE / "run.py").read_text()
    assert all(f"    {flag[2:]}: " in script for flag in script_flags)
