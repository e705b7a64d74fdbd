from pathlib import Path

import pytest
import torch
from datasets import load_dataset, load_from_disk
from tiny_shelf import text_rows, write_splits

from hf_ctkd.teachers import Teacher


@pytest.fixture
def targets(run, shelf):
    def call(*words: object, dataset: object = None):
        return run("targets", "--dataset", shelf / "squares" if dataset is None else dataset, *words)

    return call


def test_the_best_of_a_ranking_gives_targets(select, targets, tmp_path):
    assert select()[0] == 0
    code, out, err = targets("--ranking", "ranking.json", "--output", "made")
    assert code == 0, err
    assert "Soft targets of 24 rows in column 'soft_targets' saved in made." in out and "Card: made/README.md" in out
    assert len(load_from_disk("made")["soft_targets"][0]) == 3
    assert targets("--ranking", "ranking.json", "--output", "made")[0] == 0  # its own folder
    code, out, err = targets("--ranking", "ranking.json", "--output", "made/rows.parquet", "--column", "plan")
    assert code == 0, err
    assert len(load_dataset("parquet", data_files="made/rows.parquet", split="train")["plan"][0]) == 3
    code, _, err = targets("--ranking", "ranking.json", "--output", "made/rows.parquet", "--column", "plan")
    assert code == 1 and "`--output` made/rows.parquet exists already" in err


def test_a_pretrained_student_is_read_beside_its_teachers_or_alone(targets, shelf):
    student = shelf / "student"
    code, out, err = targets("--teachers", shelf / "zoo" / "four", "--student", student, "--output", "made")
    assert code == 0, err
    assert "Together the teachers and the layers of the student explain" in out
    assert "The layers of student, revision " in Path("made/README.md").read_text()
    code, out, err = targets("--student", student, "--output", "made")
    assert code == 0 and "The layers of the student explain" in out, err
    code, _, err = targets("--student", student, "--loss", "probe", "--output", "made")
    assert code == 1 and "`--student` is not read by ProbeLoss. Leave one of them out" in err


def test_a_ranking_that_advises_no_teacher_is_repeated(select, targets, shelf, caplog):
    student = shelf / "zoo" / "four"
    assert select("--teachers", student, "--student", student, zoo=False)[0] == 0
    code, out, err = targets("--ranking", "ranking.json", "--output", "made")
    assert code == 0, err
    assert "`--ranking` ranking.json: Let the student's own layers teach it: no candidate knows more" in caplog.text
    assert "The share of the input features in the targets is " in out
    caplog.clear()
    assert targets("--teachers", student, "--output", "made")[0] == 0
    assert "own layers" not in caplog.text


def test_rows_that_are_left_out_are_counted(targets, shelf, monkeypatch):
    plain = Teacher.outputs

    def outputs(self, batch, *arguments, **options):
        result = plain(self, batch, *arguments, **options)
        result.features[0] = torch.nan
        return result

    monkeypatch.setattr(Teacher, "outputs", outputs)
    code, out, err = targets("--teachers", shelf / "zoo" / "four", "--output", "made")
    assert code == 0, err
    assert "Soft targets of 23 rows" in out and "of four are NaN or infinite for 1 of 24 training rows, which" in out


def test_pushed_to_the_hub(targets, shelf, hub, logged_in):
    words = ["--teachers", shelf / "zoo" / "four", "--output", "made", "--push_to_hub", "me/made", "--public"]
    code, out, err = targets(*words)
    assert code == 0, err
    assert "Pushed for everybody: " in out and not hub.repos["me/made"].private


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "`--teachers` must hold at least one teacher for RowTransportLoss, got none."),
        (["--committee"], "`--committee` takes the teachers of a `--ranking`"),
        (["--loss", "aft"], "`--loss` AFTLoss has no class probabilities for each row."),
        (["--teachers", "ZOO", "--column", "label"], "`--column` 'label' is in the data set already."),
        (["--push_to_hub", "a/b/c"], "`--push_to_hub` must be OWNER/NAME or NAME, got 'a/b/c'."),
        (["--output", "full"], "`--output` full holds files that `hf-ctkd targets` did not write (notes.txt)."),
    ],
)
def test_bad_input_is_one_line(targets, shelf, tmp_path, words, message):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    code, _, err = targets(*[str(shelf / "zoo" / "four") if word == "ZOO" else word for word in words])
    assert code == 1
    last = err.strip().splitlines()[-1]
    assert last.startswith("hf-ctkd targets: error: ") and message in last


def test_texts(targets, shelf, tmp_path):
    folder = write_splits(tmp_path / "rows", train=text_rows())
    code, _, err = targets("--teachers", shelf / "bert", "--output", "made", dataset=folder)
    assert code == 0, err
    assert load_from_disk("made").column_names == ["text", "label", "soft_targets"]
