from pathlib import Path

import pytest
from datasets import Dataset, load_dataset
from tiny_shelf import image_rows, text_rows


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number, image in enumerate(image_rows(4)["image"]):
        image.save(folder / f"{number}.png")
    return sorted(folder.glob("*.png"))


def _read(path):
    return load_dataset(Path(path).suffix[1:], data_files=str(path), split="train")


def test_images_to_a_table(run, distilled, images):
    code, out, err = run("predict", distilled, *images, "--output", "predictions.csv")
    assert code == 0, err
    assert out.endswith("Predictions for 4 rows: predictions.csv\n")
    table = _read("predictions.csv")
    assert table.column_names == ["file", "row", "label", "score"]
    assert table["file"][:] == [str(path) for path in images]
    assert set(table["label"][:]) <= {"dark", "bright", "striped"} and all(0 < score <= 1 for score in table["score"])


def test_all_scores_of_texts_to_parquet(run, shelf):
    Path("texts.txt").write_text("the red cat\nthe green dog\n")
    words = ["predict", shelf / "bert", "texts.txt", "--output", "made/predictions.parquet", "--all_scores"]
    code, _, err = run(*words)
    assert code == 0, err
    table = _read("made/predictions.parquet")
    assert table.column_names == ["file", "row", "label", "score", "score_LABEL_0", "score_LABEL_1"]
    assert table["row"][:] == [0, 1]
    code, out, err = run(*words)
    assert (code, out) == (1, "") and "`--output` made/predictions.parquet exists already" in err
    assert run(*words, "--overwrite")[0] == 0


def test_a_line_of_a_text_file_ends_at_a_newline_alone(run, shelf, monkeypatch):
    monkeypatch.setattr("hf_ctkd.cli.predict.predict", lambda student, rows, **_: rows)
    texts = ["the\u2028red cat", "the\x85green dog", "a\x0bb\x0cc", "last"]
    Path("texts.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(texts).encode())
    code, _, err = run("predict", shelf / "bert", "texts.txt", "--output", "made.parquet")
    assert code == 0, err
    assert _read("made.parquet")["text"][:] == texts


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json"])
def test_tables(run, shelf, suffix):
    rows = text_rows().remove_columns("label")
    {".csv": rows.to_csv, ".parquet": rows.to_parquet, ".json": rows.to_json}[suffix](f"rows{suffix}")
    code, _, err = run("predict", shelf / "bert", f"rows{suffix}", f"rows{suffix}", "--output", "made.csv")
    assert code == 0, err
    assert _read("made.csv")["row"][:] == [*range(16), *range(16)]


def test_the_column_of_a_table_is_that_of_the_training_rows(run, distill, shelf):
    rows = text_rows().rename_column("text", "remark")
    rows = rows.add_column("text", ["the same"] * len(rows))
    rows.to_parquet("rows.parquet")
    words = ["--input_column", "remark", "--train_val_split", 0]
    assert distill(*words, dataset="rows.parquet", student=shelf / "bert", teachers=shelf / "bert")[0] == 0
    code, _, err = run("predict", "student", "rows.parquet", "--output", "made.csv")
    assert code == 0, err
    assert len(set(_read("made.csv")["score"][:])) > 1
    text_rows().to_parquet("others.parquet")
    code, out, err = run("predict", "student", "others.parquet", "--output", "others.csv")
    assert (code, out) == (1, "") and "was trained on the column 'remark', which these rows lack" in err
    assert "with `--input_column`." in err and not Path("others.csv").exists()


@pytest.mark.parametrize(
    ("files", "words", "message"),
    [
        (["nowhere.png"], [], "`FILES`: nowhere.png does not exist."),
        (["images"], [], "`FILES`: images is a folder: name the files in it."),
        (["broken.png"], [], "`FILES`: broken.png is no image that can be read."),
        (["empty.txt"], [], "`FILES`: empty.txt is empty."),
        (["gap.txt"], [], "`FILES`: line 2 of gap.txt is empty."),
        (["latin.txt"], [], "`FILES`: latin.txt cannot be read as UTF-8 text: "),
        (["broken.csv"], [], "`FILES` 'broken.csv' cannot be loaded: "),
        (["numbers.csv"], [], "Found 0 columns or pairs that may hold the input"),
        (["texts.txt", "numbers.csv"], [], "`FILES` must be of one kind, got table and text files."),
        (["texts.txt"], ["--output", "made.xlsx"], "`--output` 'made.xlsx' must end in .csv or .parquet."),
        (["texts.txt"], ["--batch_size", "0"], "`--batch_size` must be 1 or more, got 0."),
        (["images/0.png"], [], "cannot be used: "),  # the student reads texts
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(run, shelf, images, tmp_path, files, words, message):
    Path("broken.png").write_bytes(b"no image")
    Path("empty.txt").write_text("")
    Path("gap.txt").write_text("one\n\nthree\n")
    Path("latin.txt").write_bytes("caf\xe9\n".encode("latin-1"))
    Path("broken.csv").write_text("")
    Path("texts.txt").write_text("the red cat\n")
    Dataset.from_dict({"number": [1, 2]}).to_csv("numbers.csv")
    before = sorted(tmp_path.iterdir())
    output = [] if "--output" in words else ["--output", "made/predictions.csv"]
    code, out, err = run("predict", shelf / "bert", *files, *words, *output)
    assert (code, out) == (1, "")
    last = err.strip().splitlines()[-1]
    assert last.startswith("hf-ctkd predict: error: ") and message in last
    assert set(tmp_path.iterdir()) - set(before) <= {tmp_path / "cache"}


def test_the_output_is_required_and_files_come_before_the_flags(run, shelf):
    code, _, err = run("predict", shelf / "bert", "texts.txt")
    assert code == 2 and "--output" in err
    _, out, _ = run("predict", "--help")
    assert "usage: hf-ctkd predict STUDENT FILES... [flags]" in out


def test_two_columns_are_a_pair_in_the_order_of_their_names_on_the_command_line(run, shelf):
    Dataset.from_dict({"beta": ["the red cat", "the green dog"], "alpha": ["a cat", "a dog"]}).to_csv("pairs.csv")
    scores = []
    for columns in (["beta", "alpha"], ["alpha", "beta"], ["beta"]):
        output = f"{'-'.join(columns)}.csv"
        code, _, err = run("predict", shelf / "bert", "pairs.csv", "--input_column", *columns, "--output", output)
        assert code == 0, err
        scores.append(tuple(_read(output)["score"][:]))
    assert len(set(scores)) == 3


def test_columns_of_files_that_have_none(run, shelf):
    Path("texts.txt").write_text("the red cat\n")
    code, _, err = run("predict", shelf / "bert", "texts.txt", "--input_column", "text", "--output", "made.csv")
    assert code == 1 and not Path("made.csv").exists()
    assert "`--input_column` names columns of tables, but `FILES` are text files. Leave it out." in err
