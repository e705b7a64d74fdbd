import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from datasets import ClassLabel, DatasetDict
from tiny_shelf import image_rows, save_resnet, text_rows, write_splits

from hf_ctkd.cli.arguments import COMMANDS

FAST = ["--bootstrap_resamples", 10]


@pytest.fixture
def evaluate(run, shelf, distilled):
    def call(*words: object, student: object = None, dataset: object = None):
        rows = shelf / "squares" if dataset is None else dataset
        return run("evaluate", distilled if student is None else student, "--dataset", rows, *FAST, *words)

    return call


def test_tables_are_printed_and_a_folder_is_written(evaluate, shelf, distilled, read_json, caplog):
    words = ["--teacher", shelf / "zoo" / "four", "--baseline", distilled, "--output", "made"]
    code, out, err = evaluate(*words)
    assert code == 0, err
    assert "On 12 labelled rows of squares (split test), with 95 % intervals:" in out
    assert "student - baseline" in out and "only its size and speed are reported" in caplog.text
    names = {path.name for path in Path("made").iterdir()}
    assert {"evaluation.json", "reliability.png", "confusion_matrix.png"} <= names
    models = read_json("made/evaluation.json")["models"]
    assert [model["role"] for model in models] == ["student", "teacher", "baseline"]
    assert evaluate("--output", "made")[0] == 0  # its own folder


def test_json_is_all_that_is_printed(evaluate):
    code, out, _ = evaluate("--json", "--split", "train[:9]", "--output", "made")
    assert code == 0 and json.loads(out)["rows"] == 9


def test_progress_can_be_silenced(evaluate, run, distilled, tmp_path):
    code, _, err = evaluate()
    assert code == 0 and "row/s" in err
    code, _, err = evaluate("--quiet")
    assert code == 0 and "/s]" not in err
    image_rows(1)[0]["image"].save(tmp_path / "0.png")
    words = ["predict", distilled, tmp_path / "0.png", "--output"]
    assert "row/s" in run(*words, "loud.csv")[2]
    code, _, err = run(*words, "quiet.csv", "--quiet")
    assert code == 0 and "/s]" not in err


def test_texts_without_test_rows(evaluate, shelf, tmp_path, caplog):
    rows = write_splits(tmp_path / "texts", train=text_rows())
    code, out, err = evaluate(student=shelf / "bert", dataset=rows)
    assert code == 0, err
    assert "There are no test rows: the student is evaluated on the split train." in caplog.text
    assert "If it was trained on these rows, the figures are too high: name others with" in caplog.text


def test_columns_are_those_of_the_training_rows(evaluate, distill, run, tmp_path):
    def rows(count, seed):
        kinds = image_rows(count, seed=seed)
        return kinds.rename_column("label", "kind").add_column("label", ["same"] * count)

    folder = write_splits(tmp_path / "rows", train=rows(24, 0), test=rows(12, 1))
    assert distill("--label_column", "kind", "--bootstrap_resamples", 0, dataset=folder)[0] == 0
    code, out, err = evaluate("--json", student="student", dataset=folder)
    assert code == 0, err
    assert json.loads(out)["labels"] == ["dark", "bright", "striped"]
    other = write_splits(tmp_path / "other", test=rows(12, 1).rename_columns({"kind": "sort", "image": "picture"}))
    code, out, err = evaluate(student="student", dataset=other)
    assert (code, out) == (1, "") and err.strip().splitlines()[-1] == (
        "hf-ctkd evaluate: error: The student 'student' was trained on the column 'image', which these rows lack; they "
        "have ['label', 'picture', 'sort']. Name the column that takes its place with `--input_column`."
    )
    code, out, err = evaluate("--input_column", "picture", student="student", dataset=other)
    assert code == 1 and "was trained on the column 'kind'" in err and "with `--label_column`." in err
    code, _, err = evaluate("--input_column", "picture", "--label_column", "sort", student="student", dataset=other)
    assert code == 0, err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--split", "nowhere"], "`--dataset` '"),
        (["--metrics", "accurracy"], "`--metrics` names 'accurracy'"),
        (["--baseline", "nowhere"], "`--baseline` 'nowhere'"),
        (["--teacher", "EMPTY"], "`--teacher` 'empty' cannot be used: "),
        (["--label_column", "kind"], "`--label_column` 'kind' is not a column"),
        (["--batch_size", "0"], "`--batch_size` must be 1 or more, got 0."),
        (["--bootstrap_resamples", "-1"], "`--bootstrap_resamples` must be 0 or more, got -1."),
        (["--output", "STUDENT"], "holds files that `hf-ctkd evaluate` did not write"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(evaluate, distilled, tmp_path, words, message):
    (tmp_path / "empty").mkdir()
    student = shutil.copytree(distilled, tmp_path / "student")
    before = sorted(student.rglob("*"))
    names = {"EMPTY": tmp_path / "empty", "STUDENT": student}
    output = [] if "--output" in words else ["--output", "made"]
    code, out, err = evaluate(*[names.get(word, word) for word in words], *output)
    assert (code, out) == (1, "")
    last = err.strip().splitlines()[-1]
    assert last.startswith("hf-ctkd evaluate: error: ") and message in last
    assert not Path("made").exists() and sorted(student.rglob("*")) == before


def test_rows_of_other_classes(evaluate, tmp_path):
    rows = image_rows(12).cast_column("label", ClassLabel(names=["dark", "bright", "dotted"]))
    code, out, err = evaluate(dataset=write_splits(tmp_path / "rows", test=rows))
    assert (code, out) == (1, "")
    assert "The classes of `label` are 3 (dark, bright, dotted), those of the student 3 (dark, bright, striped)." in err


def test_a_student_that_does_not_exist(evaluate, tmp_path):
    code, out, err = evaluate(student=tmp_path / "nowhere")
    assert (code, out) == (1, "") and "nowhere" in err and err.count("\n") == 1


def test_several_splits_without_a_test_split(evaluate, tmp_path):
    DatasetDict(first=image_rows(6), second=image_rows(6)).save_to_disk(tmp_path / "rows")
    code, _, err = evaluate(dataset=tmp_path / "rows")
    assert code == 1 and "`--split` must name one of first, second; none of them is a test split." in err


def test_a_student_of_a_hub(evaluate, hub, distilled):
    hub.add("me/student", distilled)
    code, out, err = evaluate(student="me/student")
    assert code == 0, err
    assert "me/student" in out


def test_a_headless_student(evaluate, tmp_path):
    code, out, err = evaluate(student=save_resnet(tmp_path / "encoder", 3, headless=True))
    assert (code, out) == (1, "") and "`student` 'encoder' has no classification or regression head." in err


@pytest.mark.parametrize("command", ["evaluate", "predict", "export", "generic-teacher"])
def test_no_flag_without_effect(command):
    names = {field.name for field in dataclasses.fields(COMMANDS[command].arguments)}
    assert "trust_remote_code" in names and "zero_shot_template" not in names  # nothing is read zero-shot there
