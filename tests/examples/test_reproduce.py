"""The papers' settings run end to end on a substitute for their data: digits with the columns of the original."""

import json
import sys
from pathlib import Path

import pytest
from datasets import ClassLabel, DatasetDict
from transformers import AutoModelForImageClassification

from hf_ctkd.demo.images import digits_dataset

FOLDER = Path(__file__).parents[2] / "examples" / "reproduce"
SCRIPTS = ("sctd_cifar100", "sctd_cub200", "learning_to_project", "generic_teacher_cifar100")
SHORT = ["--steps", "3", "--max_rows", "30", "--batch_size", "10", "--image_size", "16", "--learning_rate", "0.01"]
SMALL = ["--teacher_widths", "8", "12", "--student_widths", "8", "8"]
SCTD = [f"transport, {cost} cost{how}" for how in (", unweighted", "") for cost in ("empirical", "prototype")]
SCTD += ["transport, default", "relationship matching"]


@pytest.fixture(scope="module")
def substitutes(tmp_path_factory):
    """Folders of data sets with the columns of CIFAR-100 and of CUB-200."""
    folder = tmp_path_factory.mktemp("substitutes")
    digits = digits_dataset().select(range(240))
    parts = {"train": digits.select(range(160)), "test": digits.select(range(160, 240))}
    DatasetDict(parts).save_to_disk(folder / "cub")
    coarse = ClassLabel(names=["low", "high"])
    renamed = {
        name: part.rename_columns({"image": "img", "label": "fine_label"}).add_column(
            "coarse_label", [int(label >= 5) for label in part["label"]], feature=coarse
        )
        for name, part in parts.items()
    }
    DatasetDict(renamed).save_to_disk(folder / "cifar")
    return {name: folder / ("cub" if name == "sctd_cub200" else "cifar") for name in SCRIPTS}


@pytest.fixture
def reproduce(run_example, substitutes, tmp_path):
    """Runs a script; returns what it printed and the content of its `table.json`."""

    def run(name, *flags):
        data = ("--dataset", substitutes[name], "--output", tmp_path)
        printed = run_example(f"reproduce/{name}.py", *data, *SHORT, *SMALL, *flags)
        return printed, json.loads((tmp_path / "table.json").read_text())

    return run


def _rows(record):
    assert all(0 <= row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"] <= 1 for row in record["table"])
    return [(row["method"], row["teacher"]) for row in record["table"]]


@pytest.mark.parametrize("name", ["sctd_cifar100", "sctd_cub200"])
def test_sctd_trains_a_teacher_on_one_half_and_students_on_the_other(name, reproduce, tmp_path):
    printed, record = reproduce(name)
    assert _rows(record) == [("plain", None), *((method, "other task") for method in SCTD)]
    assert record["classes"] == {"teacher": 5, "student": 5} and record["rows"] == {"train": 30, "test": 30}
    losses = {row["method"]: row["train_loss"] for row in record["table"]}
    # A weight for relatedness may be nothing after three steps of a teacher; every other method adds its term.
    assert all(abs(losses[name] - losses["plain"]) > 1e-3 for name in (*SCTD[:2], *SCTD[4:]))
    assert not record["full_length"] and record["note"].startswith("No full run")
    assert "No full run" in printed and "transport, default" in printed
    (teacher,) = (tmp_path / "teachers").iterdir()
    names = AutoModelForImageClassification.from_pretrained(teacher).config.id2label
    assert list(names.values()) == ["zero", "one", "two", "three", "four"]


def test_students_of_a_pool_learn_from_every_kind_of_teacher(reproduce, tmp_path):
    _, record = reproduce("generic_teacher_cifar100", "--steps", "2", "--students", "2")
    kinds = ("plain teacher", "generic teacher", "uniform paths", "SFTN, wrong student", "SFTN, exact student")
    rows = _rows(record)
    assert rows[:5] == [("the teacher itself", kind) for kind in kinds]
    students = [name for name, teacher in rows[5:] if teacher is None]
    assert len(students) == len(set(students)) == 2 and all(name.startswith("resnet depths") for name in students)
    for name in students:
        teachers = [teacher for student, teacher in rows[5:] if student == name]
        assert teachers == [None, *(kinds if name == students[0] else kinds[:4])]
    assert record["classes"] == {"teacher": 10, "student": 10}
    losses = {teacher: row["train_loss"] for row in record["table"][:5] for teacher in [row["teacher"]]}
    assert losses["plain teacher"] < min(losses[kind] for kind in kinds[1:]), "branches add terms of their own"
    for folder in (tmp_path / "teachers").iterdir():
        assert AutoModelForImageClassification.from_pretrained(folder).config.num_labels == 10


def test_teachers_of_three_kinds_are_reused_and_others_can_be_named(reproduce, substitutes, tmp_path):
    _, record = reproduce("learning_to_project")
    kinds, projections = (
        ("same task", "other task", "random weights"),
        ("inverted projection", "traditional projection"),
    )
    alone = [(name, None) for name in ("plain", "spectral", "BSS")]
    assert _rows(record) == alone + [(projection, kind) for kind in kinds for projection in projections]

    import cross_task

    options = cross_task.parse(cross_task.Setting("", "", "img", "fine_label", {}), sys.argv[1:])
    # Without rows nothing could be trained, so these must be the folders of before; another flag means another folder.
    folders = {cross_task.teacher_folder(kind, options, None, None).name for kind in kinds}
    assert folders == {path.name for path in (tmp_path / "teachers").iterdir()} and len(folders) == 3
    options.seed = 1
    with pytest.raises(AttributeError):
        cross_task.teacher_folder("random weights", options, None, None)

    named = next(str(path) for path in (tmp_path / "teachers").iterdir() if path.name.startswith("random-weights"))
    _, record = reproduce("learning_to_project", "--teacher", named, "--augment")
    assert _rows(record) == alone + [(projection, named) for projection in projections]


def test_rows_are_spread_evenly_over_the_classes(import_examples, substitutes):
    import_examples("reproduce")
    import cross_task

    setting = cross_task.Setting("", str(substitutes["sctd_cub200"]), "image", "label", {})
    options = cross_task.parse(setting, ["--max_rows", "15"])
    for half, names in zip(cross_task.halves(setting, options), (["zero", "four"], ["five", "nine"]), strict=True):
        assert [half.names[0], half.names[-1]] == names
        assert sorted(half.train["label"]) == [label for label in range(5) for _ in range(3)]
    # Renumbered labels still belong to their images.
    whole = digits_dataset()
    last = cross_task.halves(setting, options)[1].train[0]
    row = next(i for i, label in enumerate(whole["label"]) if label >= 5)
    assert last["label"] == whole[row]["label"] - 5 and last["image"].tobytes() == whole[row]["image"].tobytes()


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_says_that_no_full_run_was_made(name, reproduce, capsys):
    with pytest.raises(SystemExit) as stop:
        reproduce(name, "--help")
    printed = " ".join(capsys.readouterr().out.split())
    assert stop.value.code == 0 and "No full run of this setting was made" in printed
    readme = (FOLDER / "README.md").read_text()
    assert f"`{name}.py`" in readme and "No full run" in readme
    flags = {word for word in readme.replace("`", " ").split() if word.startswith("--") and word != "--help"}
    assert all(flag in printed for flag in flags)
