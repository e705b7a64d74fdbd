from dataclasses import dataclass

import pytest

from hf_ctkd.cli.arguments import Command, flag
from hf_ctkd.cli.parsing import CommandParser


@dataclass(kw_only=True)
class Arguments:
    """Of a command for these tests."""

    dataset: str = flag("rows")
    max_rows: int = flag("most rows", 10)
    rate: float = flag("a rate", 0.5)
    teachers: list[str] = flag("teachers", [])
    loss_settings: str | None = flag("settings", None)
    baseline: bool = flag("a switch", False)
    modality: list[str] = flag("modalities", ["image"], choices=("image", "text"))
    report_to: str | list[str] = flag("trackers", ["none"])
    pool: None | str | list[str] = flag("pools, of which the parser takes one", None)


PLAIN = Command("a test", Arguments)
WITH_FOLDER = Command("a test", Arguments, {"folder": "a folder"})


def parsed(*words, command=PLAIN):
    return CommandParser("test", command).parse(words)


def arguments(*words):
    return parsed("--dataset", "x", *words).arguments


@pytest.fixture
def config(tmp_path):
    def write(text: str) -> str:
        (tmp_path / "flags.yaml").write_text(text)
        return str(tmp_path / "flags.yaml")

    return write


@pytest.fixture
def refused(capsys):
    """The one line that a wrong command line ends with."""

    def call(*words, command=PLAIN) -> str:
        with pytest.raises(SystemExit) as stop:
            parsed(*words, command=command)
        assert stop.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("hf-ctkd test: error: ") and line.endswith(". `hf-ctkd test --help` lists the flags.")
        return line

    return call


def test_without_flags_defaults_hold():
    assert arguments() == Arguments(dataset="x")


def test_dashes_and_underscores_are_alike():
    assert arguments("--max-rows", "3").max_rows == arguments("--max_rows", "3").max_rows == 3


@pytest.mark.parametrize(
    ("words", "value"),
    [([], False), (["--baseline"], True), (["--baseline", "false"], False), (["--baseline=1"], True)],
)
def test_switches(words, value):
    assert arguments(*words).baseline is value


def test_the_word_after_a_switch_may_be_something_else():
    words = ["--dataset", "x", "--baseline", "student"]
    assert parsed(*words, command=WITH_FOLDER).positionals == {"folder": "student"}
    assert parsed(*words, command=WITH_FOLDER).arguments.baseline


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dataset", "x", "--max_rows", "many"], "argument --max_rows/--max-rows: invalid int value: 'many'"),
        (["--dataset", "x", "--baseline=maybe"], "argument --baseline: Truthy value expected: got maybe"),
        (["--dataset", "x", "--modality", "sound"], "argument --modality: invalid choice: 'sound'"),
        (["--dataset", "x", "--max_row", "1"], "unrecognized arguments: --max_row (did you mean --max_rows?)"),
        (["--dataset", "x", "--losssettings={}"], "(did you mean --loss_settings?)"),
        (["--dataset", "x", "--far-off"], "unrecognized arguments: --far-off."),
        (["--max_rows", "3"], "the following arguments are required: --dataset"),
        (["--datset", "x"], "unrecognized arguments: --datset (did you mean --dataset?)"),
        (["--dataset", "x", "--config"], "argument --config: expected the name of a YAML file"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_flag(refused, words, message):
    assert message in refused(*words)


def test_a_missing_positional_argument_is_named(refused):
    assert "the following arguments are required: FOLDER" in refused("--dataset", "x", command=WITH_FOLDER)


def test_a_file_gives_every_kind_of_flag(config):
    path = config(
        "dataset: me/flowers\nmax-rows: 500\nrate: 1e-4\nteachers: [org/a, org/b]\nbaseline: true\n"
        "loss_settings: {epsilon: 0.2}\n"
    )
    values = parsed("--config", path).arguments
    assert (values.dataset, values.max_rows, values.rate) == ("me/flowers", 500, 1e-4)
    assert values.teachers == ["org/a", "org/b"] and values.baseline
    assert values.loss_settings == '{"epsilon": 0.2}'


def test_a_flag_of_one_or_several_words_takes_several(config, refused):
    words = arguments("--report_to", "wandb", "trackio").report_to
    assert words == arguments("--config", config("report_to: [wandb, trackio]\n")).report_to == ["wandb", "trackio"]
    assert arguments("--config", config("report_to: wandb\n")).report_to == ["wandb"]
    assert "'pool' takes one value, got a list" in refused("--dataset", "x", "--config", config("pool: [a, b]\n"))


def test_what_is_false_null_or_empty_in_a_file_stays_at_its_default(config):
    path = config("dataset: x\nbaseline: false\nmax_rows: null\nteachers: []\n")
    assert parsed("--config", path).arguments == Arguments(dataset="x")
    assert arguments("--config", config("")) == Arguments(dataset="x")


def test_the_command_line_wins_over_the_file(config):
    path = config("dataset: x, of a file\nmax_rows: 500\nteachers: [org/a]\nbaseline: true\n")
    values = parsed("--max-rows", "7", f"--config={path}", "--teachers", "org/c", "--baseline", "false").arguments
    assert (values.dataset, values.max_rows, values.teachers) == ("x, of a file", 7, ["org/c"])
    assert not values.baseline


def test_the_words_amount_to_the_same_without_the_file(config):
    first = parsed("--rate", "2", "--config", config("dataset: x\nteachers: [a, b]\n"))
    assert first.words == ("--dataset=x", "--teachers", "a", "b", "--rate", "2")
    assert parsed(*first.words) == first


def test_a_list_of_a_file_takes_no_positional_argument(config):
    words = ["student", "--config", config("dataset: x\nteachers: [a, b]\n")]
    values = parsed(*words, command=WITH_FOLDER)
    assert (values.positionals["folder"], values.arguments.teachers) == ("student", ["a", "b"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dataset: x\nmax_row: 5\n", "unknown key 'max_row' (did you mean max_rows?)"),
        ("dataset: x\nxyz: 5\n", "unknown key 'xyz'."),
        ("dataset: x\nconfig: other.yaml\n", "unknown key 'config'"),
        ("dataset: [unclosed\n", "is not valid YAML"),
        ("- dataset\n- x\n", "must hold flags by name"),
        ("dataset: x\nmax_rows: [1, 2]\n", "'max_rows' takes one value, got a list"),
        ("dataset: x\nmax_rows: many\n", "argument --max_rows/--max-rows: invalid int value: 'many'"),
        ("max_rows: 3\n", "required: --dataset"),
    ],
)
def test_a_bad_file_is_wrong_usage(refused, config, text, message):
    assert message in refused("--config", config(text))


def test_a_missing_file_is_wrong_usage(refused):
    assert "`--config` nowhere.yaml cannot be read" in refused("--config", "nowhere.yaml")
