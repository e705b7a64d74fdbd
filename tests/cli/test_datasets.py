import doctest
import re

import pytest
from datasets import DatasetDict, Image, Value
from tiny_shelf import image_rows, text_rows, write_splits

from hf_ctkd.cli import datasets as module
from hf_ctkd.cli.datasets import Rows
from hf_ctkd.errors import DatasetError, InvalidArgumentError


def test_examples_in_docstrings():
    assert doctest.testmod(module).failed == 0


def test_built_in_rows_know_their_split_and_name():
    rows = Rows("demo:digits", labels=30, seed=1).load("test")
    assert (str(rows.split), rows.info.dataset_name, len(rows)) == ("test", "demo:digits", 347)


def test_built_in_rows_follow_labels_and_seed():
    rows = [Rows("demo:digits", labels=labels, seed=seed).load("train") for labels, seed in ((30, 0), (30, 1), (40, 0))]
    assert [sum(label >= 0 for label in one["label"]) for one in rows] == [30, 30, 40]
    assert rows[0]["image"][0].tobytes() != rows[1]["image"][0].tobytes()


def test_a_folder_of_parquet(shelf):
    source = Rows(str(shelf / "squares"))
    assert set(source.split_names) == {"train", "test"}
    assert source.evaluation_split("train") == "test"
    rows = source.load("train[:5]")
    assert len(rows) == 5
    assert rows.features["label"].names == ["dark", "bright", "striped"]
    assert rows.info.dataset_name == str(shelf / "squares")


def test_a_folder_of_pictures(tmp_path):
    for row in image_rows(6):
        place = tmp_path / "pictures" / "train" / f"class{row['label']}"
        place.mkdir(parents=True, exist_ok=True)
        row["image"].save(place / f"{len(list(place.iterdir()))}.png")
    rows = Rows(str(tmp_path / "pictures")).load("train")
    assert isinstance(rows.features["image"], Image)
    assert rows.features["label"].names == ["class0", "class1", "class2"]


def test_a_file(tmp_path):
    text_rows().to_csv(tmp_path / "rows.csv")
    source = Rows(str(tmp_path / "rows.csv"))
    assert source.split_names == ("train",)
    assert source.evaluation_split("train") is None
    assert len(source.load("train")) == 16


def test_what_save_to_disk_wrote(tmp_path):
    DatasetDict({"train": text_rows(), "validation": text_rows()}).save_to_disk(tmp_path / "both")
    text_rows().save_to_disk(tmp_path / "one")
    assert Rows(str(tmp_path / "both")).evaluation_split("train") == "validation"
    assert len(Rows(str(tmp_path / "both")).load("validation")) == 16
    assert Rows(str(tmp_path / "one")).split_names == ("train",)
    with pytest.raises(DatasetError, match="`--split` 'test' is not in .*; it has train, validation."):
        Rows(str(tmp_path / "both")).load("test")


def test_the_split_evaluated_on_is_not_the_one_trained_on(shelf):
    assert Rows(str(shelf / "squares")).evaluation_split("test[:5]") is None


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere", "rows.csv"])
def test_what_is_no_file_is_not_looked_for_on_the_hub(hub, name):
    with pytest.raises(DatasetError, match="does not exist. Check the spelling."):
        Rows(name).load("train")
    assert not hub.seen("datasets")


def test_a_data_set_that_the_hub_does_not_have(hub):
    reason = "it is no folder or file here, and on the Hub: .*Check `--dataset`"
    with pytest.raises(DatasetError, match=f"`--dataset` 'me/nothing' cannot be loaded: {reason}"):
        Rows("me/nothing").load("train")


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("me/petz", {}, "doesn't exist on the Hub or cannot be accessed"),
        (
            "me/gated",
            {"gated": "manual"},
            "is a gated dataset on the Hub. Visit the dataset page at .* to ask for access",
        ),
        ("me/private", {"private": True}, "doesn't exist on the Hub or cannot be accessed"),
        ("my pets/x", {}, "Repo id must use alphanumeric chars"),
    ],
)
@pytest.mark.parametrize("command", ["select", "distill"])
def test_a_data_set_of_the_hub_that_is_out_of_reach_is_one_line(hub, run, shelf, command, name, settings, reason):
    if settings:
        hub.add(name, {"train.parquet": b"rows"}, **settings)
    student = ["--student", shelf / "student"] if command == "distill" else []
    code, _, err = run(command, "--dataset", name, "--teachers", shelf / "zoo" / "four", *student)
    line = err.strip().splitlines()[-1]
    assert code == 1 and "Traceback" not in err
    assert re.match(
        f"hf-ctkd {command}: error: `--dataset` '{name}' cannot be loaded: .*{reason}.*or name a folder.", line
    )


def test_a_name_that_may_be_a_misspelt_folder_is_said_to_be_looked_up(hub, caplog):
    for name in ("flowers", "me/flowers"):
        with pytest.raises(DatasetError):
            Rows(name).load("train")
    (message,) = [text for text in caplog.messages if "looked up" in text]
    assert message == "`--dataset` 'flowers' is no folder or file here: it is looked up on the Hub."


def test_an_unknown_split_names_those_there_are(shelf):
    with pytest.raises(
        DatasetError, match=r"Unknown split .*should be one of|Unknown split \"dev\"\. Should be one of"
    ):
        Rows(str(shelf / "squares")).load("dev")


def test_broken_empty_and_strange_files(tmp_path):
    (tmp_path / "broken.parquet").write_text("garbage")
    (tmp_path / "notes.txt").write_text("garbage")
    (tmp_path / "empty").mkdir()
    for name in ("broken.parquet", "empty"):
        with pytest.raises(DatasetError, match="cannot be loaded"):
            Rows(str(tmp_path / name)).load("train")
    with pytest.raises(DatasetError, match="must end in one of .parquet"):
        Rows(str(tmp_path / "notes.txt")).load("train")


def test_an_unknown_built_in_task():
    with pytest.raises(InvalidArgumentError, match="got 'nothing'. Choose one of these"):
        Rows("demo:nothing").load("train")


def test_whole_numbers_with_gaps_in_a_csv_file_stay_whole(tmp_path, caplog):
    (tmp_path / "rows.csv").write_text("text,label,score\na,0,0.5\nb,1,\nc,,2.0\n")
    rows = Rows(str(tmp_path / "rows.csv")).load("train")
    assert rows.features["label"] == Value("int64") and rows.features["score"] == Value("float64")
    assert rows["label"][:] == [0, 1, None]
    assert "`label` holds whole numbers, 1 of which are missing" in caplog.text


@pytest.mark.parametrize("folder", [False, True])
def test_a_pointer_of_git_lfs_is_no_data(tmp_path, folder):
    path = tmp_path / "rows.csv"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n")
    with pytest.raises(
        DatasetError, match="`--dataset` .*rows.csv is a pointer of Git LFS, not the data. Run `git lfs"
    ):
        Rows(str(tmp_path if folder else path)).load("train")


def test_splits_of_a_configuration(tmp_path):
    for config in ("small", "large"):
        write_splits(tmp_path / "rows" / config, train=text_rows(), test=text_rows())
    configs = "".join(
        f"- config_name: {config}\n  data_files:\n"
        f"  - split: train\n    path: {config}/train*\n  - split: test\n    path: {config}/test*\n"
        for config in ("small", "large")
    )
    (tmp_path / "rows" / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    rows = Rows(str(tmp_path / "rows"), "large")
    assert rows.split_names == ("train", "test") and rows.evaluation_split("train") == "test"
    assert len(rows.load("train")) == 16


def test_a_split_that_is_required(shelf):
    rows = Rows(str(shelf / "squares"))
    rows.require_split("train[:5]+test", "--eval_split")
    with pytest.raises(DatasetError, match="`--eval_split` 'tset' is not in .*; it has "):
        rows.require_split("tset", "--eval_split")
