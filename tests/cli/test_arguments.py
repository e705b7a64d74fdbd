import argparse

import pytest

from hf_ctkd.cli.arguments import add_flag, add_switch, boolean, check_writable, new_parser, parse
from hf_ctkd.errors import InvalidArgumentError


@pytest.fixture
def parser():
    parser = new_parser("hf-ctkd test", "A test.")
    add_flag(parser, "max_rows", type=int, default=10)
    add_flag(parser, "rate", type=float, default=0.5)
    add_flag(parser, "teachers", nargs="+", default=[])
    add_flag(parser, "loss_settings")
    add_flag(parser, "dataset", required=True)
    add_switch(parser, "baseline")
    add_flag(parser, "public", action="store_true")
    return parser


@pytest.fixture
def config(tmp_path):
    def write(text: str) -> str:
        (tmp_path / "flags.yaml").write_text(text)
        return str(tmp_path / "flags.yaml")

    return write


def test_dashes_and_underscores_are_alike(parser):
    assert parse(parser, ["--dataset", "x", "--max-rows", "3"]).max_rows == 3


def test_flags_are_not_abbreviated(parser, capsys):
    with pytest.raises(SystemExit):
        parse(parser, ["--data", "x"])
    assert "--dataset" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "value"),
    [([], False), (["--baseline"], True), (["--baseline", "false"], False), (["--baseline=1"], True)],
)
def test_switches(parser, words, value):
    assert parse(parser, ["--dataset", "x", *words]).baseline is value


def test_a_switch_takes_nothing_else():
    with pytest.raises(argparse.ArgumentTypeError, match="true or false, got 'maybe'"):
        boolean("maybe")


def test_a_file_gives_every_kind_of_flag(parser, config):
    path = config(
        "dataset: me/flowers\nmax_rows: 500\nrate: 1e-4\nteachers: [org/a, org/b]\nbaseline: true\npublic: true\n"
        "loss_settings: {epsilon: 0.2}\n"
    )
    found = parse(parser, ["--config", path])
    assert (found.dataset, found.max_rows, found.rate) == ("me/flowers", 500, 1e-4)
    assert found.teachers == ["org/a", "org/b"]
    assert found.baseline and found.public
    assert found.loss_settings == '{"epsilon": 0.2}'


def test_what_is_false_or_null_in_a_file_stays_out(parser, config):
    found = parse(parser, ["--config", config("dataset: x\nbaseline: false\npublic: false\nmax_rows: null\n")])
    assert (found.baseline, found.public, found.max_rows) == (False, False, 10)


def test_the_command_line_wins(parser, config):
    found = parse(parser, ["--max_rows", "7", f"--config={config('dataset: x, of a file')}", "--teachers", "org/c"])
    assert (found.max_rows, found.dataset, found.teachers) == (7, "x, of a file", ["org/c"])
    path = config("dataset: x\nmax_rows: 500\nteachers: [org/a]\nbaseline: true\n")
    found = parse(parser, ["--config", path, "--max-rows", "7", "--teachers", "org/c", "--baseline", "false"])
    assert (found.max_rows, found.teachers, found.baseline) == (7, ["org/c"], False)


def test_words_amount_to_the_same_without_the_file(parser, config):
    found = parse(parser, ["--rate", "2", "--config", config("dataset: x\nteachers: [a, b]\n")])
    assert found.words == ["--dataset=x", "--teachers", "a", "b", "--rate", "2"]
    again = parse(parser, found.words)
    assert vars(again) == {**vars(found), "words": found.words}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dataset: x\nmax_row: 5\n", "unknown key 'max_row'. Did you mean max_rows?"),
        ("dataset: x\nxyz: 5\n", "unknown key 'xyz'. `hf-ctkd test --help` lists"),
        ("dataset: x\nconfig: other.yaml\n", "unknown key 'config'"),
        ("dataset: [unclosed\n", "is not valid YAML"),
        ("- dataset\n- x\n", "must hold flags by name"),
        ("dataset: x\nmax_rows: [1, 2]\n", "'max_rows' takes one value, got a list"),
        ("dataset: x\nmax_rows: many\n", "invalid int value: 'many'"),
        ("max_rows: 3\n", "required: --dataset"),
    ],
)
def test_a_bad_file_is_wrong_usage(parser, config, capsys, text, said):
    with pytest.raises(SystemExit) as stop:
        parse(parser, ["--config", config(text)])
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


def test_a_missing_file_is_wrong_usage(parser, capsys):
    with pytest.raises(SystemExit):
        parse(parser, ["--config", "nowhere.yaml"])
    assert "`--config` nowhere.yaml cannot be read" in capsys.readouterr().err


def test_an_empty_file_says_nothing(parser, config):
    assert parse(parser, ["--dataset", "x", "--config", config("")]).max_rows == 10


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        InvalidArgumentError, match=r"`--output_dir`: .*file/student cannot be written .Not a directory"
    ):
        check_writable(tmp_path / "file" / "student", "--output_dir")


def test_a_folder_that_can_be_written_is_left_empty(tmp_path):
    check_writable(tmp_path / "new" / "folder", "--output_dir")
    assert list((tmp_path / "new" / "folder").iterdir()) == []
