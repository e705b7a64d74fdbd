import doctest

import pytest

from hf_ctkd.training import command
from hf_ctkd.training.command import command_line


def test_examples_in_docstrings():
    assert doctest.testmod(command).failed == 0


@pytest.mark.parametrize("words", [["--token", "hf_a"], ["--hub_token=hf_a"], ["--hub-token", "hf_a"]])
def test_no_token_is_shown(words):
    shown = command_line(["hf-ctkd", *words, "--student", "x"])
    assert "hf_a" not in shown and shown.endswith("--student x")


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("/home/me/zoo/letters", "letters"),
        ("/home/me/zoo/letters/", "letters"),
        ("--student=/home/me/small", "--student=small"),
        ("random:/home/me/zoo/letters", "random:letters"),
        ("zoo/letters", "zoo/letters"),
        ("org/model@1f2e", "org/model@1f2e"),
        ("https://host/x", "https://host/x"),
    ],
)
def test_no_place_on_the_machine_is_shown(word, shown):
    assert command_line(["hf-ctkd", word]) == f"hf-ctkd {shown}"


@pytest.mark.parametrize(
    "words",
    [
        ["--resume_from_checkpoint", "true"],
        ["--resume-from-checkpoint", "out/checkpoint-4"],
        ["--resume_from_checkpoint=true"],
        ["--resume_from_checkpoint"],
    ],
)
def test_the_command_starts_anew(words):
    assert command_line(["hf-ctkd", *words, "--student", "x"]) == "hf-ctkd --student x"


def test_words_are_quoted_for_a_shell():
    assert command_line(["python", "my run.py", '{"a": 1}']) == "python 'my run.py' '{\"a\": 1}'"
