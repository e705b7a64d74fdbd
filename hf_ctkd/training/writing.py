"""Files that are written whole or not at all, and what is said where the disk refuses."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from hf_ctkd.errors import InvalidArgumentError

_PROBE_BYTES = 1 << 20
"""Written to tell whether a disk is full: more than what a file system still takes of a file that did not fit."""


@contextmanager
def all_or_none(folder: Path) -> Iterator[Path]:
    """A fresh folder whose files take the place of those of `folder` once all of them are written.

    Args:
        folder: made if it is not there.

    Raises:
        InvalidArgumentError: if it cannot be written or the disk is full.
    """
    temporary: Path | None = None
    try:
        with _disk_refusals(f"the student to {folder}", folder):
            folder.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=folder, prefix=".saving-"))
            yield temporary
            for path in sorted(path for path in temporary.rglob("*") if path.is_file()):
                place = folder / path.relative_to(temporary)
                place.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, place)
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def whole_or_gone(folder: Path, *, ours: bool) -> Iterator[None]:
    """Around what writes a checkpoint: one that is not finished is removed, so that no run goes on from it.

    Args:
        folder: the checkpoint's own.
        ours: whether this process is the one that may remove it.

    Raises:
        InvalidArgumentError: if it cannot be written or the disk is full.
    """
    finished = False
    try:
        with _disk_refusals(f"the checkpoint {folder}", folder):
            yield
        finished = True
    finally:
        if ours and not finished:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _disk_refusals(what: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        # torch.save has no exception of its own for a disk that is full: its RuntimeError looks like any other.
        refusal = _refusal_of(folder) if isinstance(error, RuntimeError) else error
        if refusal is None:
            raise
        raise InvalidArgumentError(
            f"Cannot write {what}: {refusal}. The files that were there are whole; choose a folder that can be written "
            "and has room."
        ) from error


def _refusal_of(folder: Path) -> OSError | None:
    """Why the disk takes no more, while what was written last is still there; None if it does."""
    try:
        with tempfile.TemporaryFile(dir=folder if folder.is_dir() else folder.parent) as stream:
            stream.write(bytes(_PROBE_BYTES))
            stream.flush()
            os.fsync(stream.fileno())  # where blocks are allocated late, the refusal comes here
    except OSError as error:
        return error
    return None
