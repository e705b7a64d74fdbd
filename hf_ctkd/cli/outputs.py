"""Where a command writes: only into a folder or file that is new, empty, or written by the same command before."""

import os
import re
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from hf_ctkd.cli.arguments import check_writable
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records import read_json, write_json

MARKER = ".hf_ctkd.json"
"""In a folder of output: which command wrote it. It is not published."""
_KIND = "command-output"
_HEAD_BYTES = 4096
_NAMED_FILES = 3
_OUTPUT_FLAGS = {"output", "output_dir", "folder", "index"}


def claim_folder(
    folder: Path | str, flag: str, *, command: str, overwrite: bool, inputs: Iterable[tuple[str, str | None]] = ()
) -> None:
    """Make a folder of output and mark it as written by a command.

    Args:
        folder: that the command is going to write into.
        flag: that named it, for the message.
        command: such as `"distill"`.
        overwrite: whether to use a folder with files of others, and an input, all the same.
        inputs: flags that name what the command reads, with their values.

    Raises:
        InvalidArgumentError: if it cannot be written, holds files of others, or is also an input.
    """
    folder = Path(folder)
    check_folder(folder, flag, command=command, overwrite=overwrite, inputs=inputs)
    check_writable(folder, flag)
    if _command_of(folder) != command:
        write_json(folder / MARKER, {"kind": _KIND, "command": command})


def check_folder(
    folder: Path | str, flag: str, *, command: str, overwrite: bool, inputs: Iterable[tuple[str, str | None]] = ()
) -> None:
    """Check that a command may write into a folder, and write nothing yet; arguments as for `claim_folder`.

    Raises:
        InvalidArgumentError: if it is a file, holds files of others, or is also an input.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InvalidArgumentError(f"`{flag}` {folder} is a file. Name a folder.")
    if not overwrite:
        _check_contents(folder, flag, command)
        _check_inputs(folder, flag, inputs)


def claim_file(path: Path | str, flag: str, *, kind: str, overwrite: bool) -> None:
    """Check that a record may be written to a path, and make its folder.

    Args:
        path: of the file.
        flag: that named it, for the message.
        kind: of the record, as in its field of that name: a file with such a record may be replaced.
        overwrite: whether to replace a file of another kind, or a link, all the same.

    Raises:
        InvalidArgumentError: if it is no file, is of another kind, or its folder cannot be written.
    """
    path = Path(path)
    try:
        mode = path.lstat().st_mode
    except OSError:  # no such file, or a folder that cannot be made: `check_writable` tells which
        mode = None
    if mode is not None and not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        what = "a folder" if stat.S_ISDIR(mode) else "a device or pipe"
        raise InvalidArgumentError(f"`{flag}` {path} is {what}. Name a file.")
    if mode is not None and not overwrite:
        if stat.S_ISLNK(mode):
            raise InvalidArgumentError(
                f"`{flag}` {path} is a link, which the new file would replace. Name the file that it points to, or "
                "pass `--overwrite`."
            )
        if not _holds_record(path, kind):
            raise InvalidArgumentError(
                f"`{flag}` {path} exists and holds no record of kind {kind!r}, so the command would replace a file "
                "that it did not write. Choose another file, or pass `--overwrite`."
            )
    check_writable(path.parent, flag)


def claim_new_file(path: Path | str, flag: str, *, overwrite: bool) -> None:
    """Check that a file of a format without room for a mark of ours may be written, and make its folder.

    Args:
        path: of the file.
        flag: that named it, for the message.
        overwrite: whether to replace a file or a link that is there already.

    Raises:
        InvalidArgumentError: if it is no file, is there already, or its folder cannot be written.
    """
    check_new_file(path, flag, overwrite=overwrite)
    check_writable(Path(path).parent, flag)


def check_new_file(path: Path | str, flag: str, *, overwrite: bool) -> None:
    """Check that a file may be written, and write nothing yet; arguments as for `claim_new_file`.

    Raises:
        InvalidArgumentError: if it is a folder, a device or a pipe, or is there already.
    """
    path = Path(path)
    if path.is_dir():
        raise InvalidArgumentError(f"`{flag}` {path} is a folder. Name a file.")
    if path.exists() and not path.is_file():  # which the new file would replace, and every program would miss
        raise InvalidArgumentError(f"`{flag}` {path} is a device or pipe. Name a file.")
    if not overwrite and (path.exists() or path.is_symlink()):
        raise InvalidArgumentError(
            f"`{flag}` {path} exists already, and would be replaced. Choose another file, or pass `--overwrite`."
        )


def absent_outputs(values: Mapping[str, object]) -> list[Path]:
    """The folders of output that are not there yet, the innermost first, for `remove_unused`.

    Args:
        values: of the flags of a command, by name.
    """
    paths = [
        Path(value) for name, value in values.items() if name in _OUTPUT_FLAGS and isinstance(value, str) and value
    ]
    absent = {folder for path in paths for folder in (path, *path.parents) if not os.path.exists(folder)}
    return sorted(absent, key=lambda folder: len(folder.parts), reverse=True)


def remove_unused(folders: Iterable[Path]) -> None:
    """Remove those folders that hold nothing, or only the mark of a command that was refused after it had made them.

    Args:
        folders: that were not there before the command, the innermost first.
    """
    for folder in folders:
        with suppress(OSError):  # another process of the same launch may remove them too
            if folder.is_dir() and {path.name for path in folder.iterdir()} <= {MARKER}:
                (folder / MARKER).unlink(missing_ok=True)
                folder.rmdir()


def _check_contents(folder: Path, flag: str, command: str) -> None:
    if not folder.is_dir():
        return
    # Several processes of one launch come here at once: the marker may still be under its temporary name.
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith((MARKER, f".{MARKER}")))
    if names and _command_of(folder) != command:
        listed = ", ".join(names[:_NAMED_FILES]) + (", ..." if len(names) > _NAMED_FILES else "")
        raise InvalidArgumentError(
            f"`{flag}` {folder} holds files that `hf-ctkd {command}` did not write ({listed}). Choose a new or empty "
            "folder, or pass `--overwrite` to write among them."
        )


def _check_inputs(folder: Path, flag: str, inputs: Iterable[tuple[str, str | None]]) -> None:
    for input_flag, value in inputs:
        if value is not None and Path(value).exists() and Path(value).resolve() == folder.resolve():
            raise InvalidArgumentError(
                f"`{flag}` {folder} is also `{input_flag}`, which would be replaced. Choose another folder, or pass "
                "`--overwrite`."
            )


def _command_of(folder: Path) -> str | None:
    """The command that marked a folder; None without a marker that can be read."""
    try:
        return str(read_json(folder / MARKER, _KIND).get("command"))
    except InvalidArgumentError:
        return None


def _holds_record(path: Path, kind: str) -> bool:
    """Whether a file is empty or begins as `write_json` writes a record of this kind."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise InvalidArgumentError(f"{path} cannot be read: {error.strerror}. Choose another file.") from error
    return not head or re.match(rb'\s*\{\s*"kind":\s*"' + re.escape(kind.encode()) + b'"', head) is not None
