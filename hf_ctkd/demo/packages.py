"""Files inside installed packages, and folders of models that are whole or not there."""

import importlib.util
import os
import shutil
import uuid
from pathlib import Path
from typing import Protocol


class Saveable(Protocol):
    """A model, a tokenizer or an image processor."""

    def save_pretrained(self, save_directory: Path, /) -> object:
        """Write it into a folder."""


def installed_file(package: str, *path: str) -> Path | None:
    """A file or folder of a package, which is not imported; None where the package is not installed.

    Args:
        package: its import name.
        path: from its folder on.
    """
    spec = importlib.util.find_spec(package)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent.joinpath(*path)


def save_whole(folder: Path, *parts: Saveable) -> Path:
    """Save parts of a model under the final name only when all are written: another process may look for the folder.

    Args:
        folder: of the model.
        parts: the model and what prepares its inputs.
    """
    partial = folder.with_name(f"{folder.name}-{uuid.uuid4().hex}.partial")
    for part in parts:
        part.save_pretrained(partial)
    try:
        os.rename(partial, folder)
    except OSError:  # somebody else was first, with the same weights
        shutil.rmtree(partial)
    return folder
