from pathlib import Path

import pytest
from datasets import Dataset
from tiny_shelf import image_rows, text_rows, write_splits

from hf_ctkd.cli.arguments import COMMANDS
from hf_ctkd.cli.datasets import Rows
from hf_ctkd.cli.parsing import CommandParser
from hf_ctkd.cli.split_rows import load_data, rows_to_rank_on
from hf_ctkd.cli.training import training_config
from hf_ctkd.data import TargetRows
from hf_ctkd.records import DistillationRecord, TeacherRanking
from hf_ctkd.training import DistillationConfig


@pytest.fixture
def distill_texts(distill, shelf):
    """A student of texts; gives the exit code, stderr, and the log."""

    def call(*words: object, dataset: object = "rows.csv"):
        code, _, err = distill(*words, dataset=dataset, student=shelf / "bert", teachers=shelf / "bert")
        return code, err

    return call


def write_csv(name: str = "rows.csv", *, start: int = 0, count: int = 30) -> str:
    lines = [f"the {'cat' if row % 2 else 'dog'} number {row},{row % 2 + 1}" for row in range(start, start + count)]
    Path(name).write_text("\n".join(["text,label", *lines]))
    return name


def test_without_evaluation_rows_a_part_is_held_out(distill_texts, caplog):
    write_csv()
    code, err = distill_texts()
    assert code == 0, err
    task = DistillationRecord.load("student/distillation.json").task
    assert (task.train_rows, task.labelled_rows, task.eval_rows, task.eval_split) == (24, 24, 6, "heldout")
    assert "6 of 30 labelled rows of train are held out for evaluation (the same share of every class, seed 0)." in (
        caplog.text
    )
    assert "training rows too" not in caplog.text


def test_a_ranking_never_sees_the_rows_that_are_held_out(run, shelf, distill_texts, caplog, tmp_path):
    rows = ["--dataset", write_csv(), "--seed", 3]
    code, _, err = run("select", *rows, "--teachers", shelf / "bert")
    assert code == 0, err
    assert (
        "6 of 30 labelled rows of train, which `distill` holds out for evaluation (the same share of every class, seed "
        "3), are left out of the ranking."
    ) in caplog.text
    code, err = distill_texts("--seed", 3, "--ranking", "ranking.json", dataset="rows.csv")
    assert code == 0, err
    ranking, record = TeacherRanking.load("ranking.json"), DistillationRecord.load("student/distillation.json")
    assert ranking.dataset["scored_rows"] == 24 and ranking.dataset["fingerprint"] == record.task.fingerprint

    given = CommandParser("select", COMMANDS["select"]).parse([*map(str, rows), "--teachers", "t"]).arguments
    trained = CommandParser("distill", COMMANDS["distill"]).parse([*map(str, rows), "--student", "s"])
    config = training_config(DistillationConfig, trained.training, dataset="rows.csv", output_dir=str(tmp_path))
    data = load_data(trained.arguments, config)
    scored, held_out = TargetRows.of(rows_to_rank_on(given)), TargetRows.of(data.evaluation, evaluation=True)
    assert len(held_out) == 6 and not set(scored.digests) & set(held_out.digests)
    assert scored.digests == data.rows.digests


@pytest.mark.parametrize("words", [["--train_val_split", 0], ["--eval_split", "train[:5]"]])
def test_a_ranking_sees_all_rows_where_none_is_held_out(run, shelf, words):
    code, _, err = run("select", "--dataset", write_csv(), "--teachers", shelf / "bert", *words)
    assert code == 0, err
    assert TeacherRanking.load("ranking.json").dataset["scored_rows"] == 30
    code, _, err = run("select", "--dataset", "rows.csv", "--teachers", shelf / "bert", "--train_val_split", 0.7)
    assert code == 1 and "`--train_val_split` must lie between 0 and 0.5, got 0.7." in err


def test_no_part_is_held_out_where_it_is_not_wanted_or_rows_are_few(distill_texts, caplog):
    write_csv()
    assert distill_texts("--train_val_split", 0)[0] == 0
    assert DistillationRecord.load("student/distillation.json").task.eval_rows == 0
    write_csv("few.csv", count=8)
    assert distill_texts(dataset="few.csv")[0] == 0
    assert "No rows are held out for evaluation: 8 labelled rows are too few to spare any." in caplog.text
    code, err = distill_texts("--train_val_split", 0.9)
    assert code == 1 and "`--train_val_split` must lie between 0 and 0.5, got 0.9." in err


def test_numbers_are_held_out_too(distill, caplog):
    rows = image_rows(20).remove_columns("label").add_column("score", [row / 7 for row in range(20)])
    code, _, err = distill(dataset=write_splits(Path("numbers"), train=rows))
    assert code == 0, err
    assert DistillationRecord.load("student/distillation.json").task.eval_rows == 4
    assert "4 of 20 labelled rows of train are held out for evaluation (seed 0)." in caplog.text


def test_evaluation_rows_that_are_training_rows_are_refused(distill_texts, caplog):
    folder = write_splits(Path("both"), train=text_rows(), validation=text_rows().select([3, 5]))
    code, err = distill_texts(dataset=folder)
    assert code == 1
    assert "2 evaluation rows are training rows too, such as evaluation row 0, which is training row 3." in err
    assert "take them out of train or validation, or pass `--allow_overlap`" in err
    assert distill_texts("--allow_overlap", dataset=folder)[0] == 0
    assert "`eval_dataset`: 2 evaluation rows are training rows too" in caplog.text
    code, err = distill_texts("--split", "train[:50%]", "--eval_split", "train[50%:]", dataset=folder)
    assert code == 0, err


def ordered(count: int = 40) -> Dataset:
    return Dataset.from_dict(
        {"text": [f"text {row}" for row in range(count)], "label": [2 * row // count for row in range(count)]}
    )


def test_a_split_in_class_order_is_shuffled_before_it_is_cut(tmp_path, caplog):
    source = Rows(write_splits(tmp_path / "ordered", train=ordered()))
    first, second = source.load("train[:25%]"), source.load("train[25%:]")
    assert (
        "The rows of train stand in class order: they are shuffled (seed 0) before train[:25%] is cut." in caplog.text
    )
    assert (len(first), len(second)) == (10, 30) and set(first["label"]) == {0, 1}
    assert not set(first["text"]) & set(second["text"])
    assert Rows(source.name, seed=1).load("train[:25%]")["text"][:] != first["text"][:]
    assert source.load("train")["text"][:2] == ["text 0", "text 1"]


def test_a_cut_of_other_rows_is_that_of_datasets(tmp_path, caplog):
    mixed = ordered().shuffle(seed=0).flatten_indices()
    source = Rows(write_splits(tmp_path / "mixed", train=mixed))
    assert source.load("train[3:9]")["text"][:] == mixed["text"][3:9]
    unlabelled = Rows(write_splits(tmp_path / "unlabelled", train=ordered().remove_columns("label")))
    assert unlabelled.load("train[:5]")["text"][:] == [f"text {row}" for row in range(5)]
    assert "class order" not in caplog.text
