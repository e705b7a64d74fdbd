"""Sections of files of results, each between two markers of its own."""

from pathlib import Path

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records import write_text


def put(section: str, begin: str, end: str, target: Path) -> None:
    """Put a section into a file of results, in place of the one between its markers, or at the end.

    Args:
        section: with its markers.
        begin: first marker.
        end: last marker.
        target: the file, made if missing.
    """
    old = (
        target.read_text(encoding="utf-8") if target.exists() else "# Results, written by the scripts in this folder\n"
    )
    if begin not in old:
        old = f"{old.rstrip()}\n\n{begin}\n{end}\n"
    write_text(target, replaced(old, begin, end, section.rstrip("\n")))


def replaced(text: str, begin: str, end: str, section: str) -> str:
    """A text with the section between two markers (and the markers) replaced.

    Raises:
        InvalidArgumentError: if the markers are missing.
    """
    if begin not in text or end not in text:
        raise InvalidArgumentError(
            f"The file must hold the markers {begin} and {end}. Add them where the table belongs."
        )
    head, rest = text.split(begin, 1)
    return head + section + rest.split(end, 1)[1]
