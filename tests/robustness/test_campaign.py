"""The generated campaign, `python -m benchmarks.robustness`, knows every command."""

import random

from benchmarks import robustness
from benchmarks.robustness import Shelf
from hf_ctkd.cli.arguments import COMMANDS


def test_flags_of_every_command_are_drawn(shelf, tmp_path):
    drawn = [
        robustness.wrong_flag(random.Random(number), Shelf(shelf), _folder(tmp_path, number)) for number in range(300)
    ]
    assert {case.words[0] for case in drawn} == COMMANDS.keys() - {"demo"}  # which trains for minutes


def _folder(tmp_path, number):
    folder = tmp_path / str(number)
    folder.mkdir()
    return folder
