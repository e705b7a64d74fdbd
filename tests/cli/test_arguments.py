from dataclasses import fields

import pytest

from hf_ctkd.cli.arguments import COMMANDS, check_writable
from hf_ctkd.errors import InvalidArgumentError


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_has_a_help_text(name):
    assert all(argument.metadata["help"] for argument in fields(COMMANDS[name].arguments))


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        InvalidArgumentError, match=r"`--output_dir`: .*file/student cannot be written .Not a directory"
    ):
        check_writable(tmp_path / "file" / "student", "--output_dir")


def test_a_folder_that_can_be_written_is_left_empty(tmp_path):
    check_writable(tmp_path / "new" / "folder", "--output_dir")
    assert list((tmp_path / "new" / "folder").iterdir()) == []
