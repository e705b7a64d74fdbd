"""Reading and writing records so that a crash or a full disk never costs the file that was there before."""

import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import cached_assets_path, constants

from hf_ctkd.errors import InvalidArgumentError


def default_cache() -> Path:
    """The folder of everything that can be computed again.

    `$HF_CTKD_CACHE`, or this library's folder among the assets of `huggingface_hub`, which follows `$HF_HOME` and
    `$HF_ASSETS_CACHE`.

    Raises:
        InvalidArgumentError: if the folder of assets cannot be made.
    """
    folder = os.environ.get("HF_CTKD_CACHE")
    if folder:
        return Path(folder)
    try:
        return cached_assets_path("hf_ctkd", assets_dir=constants.HF_ASSETS_CACHE)
    except (OSError, ValueError) as error:
        raise InvalidArgumentError(
            f"Cannot make the cache folder: {error}. Set `HF_CTKD_CACHE` to a folder that can be written."
        ) from error


def write_text(path: Path | str, text: str) -> Path:
    """Write a text file as UTF-8, whole or not at all; see `write_bytes`."""
    return write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path | str, content: bytes) -> Path:
    """Write a file by writing a neighbour and renaming it: the old file stays whole until the new one is.

    Raises:
        InvalidArgumentError: if the folder cannot be written or the disk is full; the old file is intact.
    """
    path = Path(path)
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise InvalidArgumentError(
            f"Cannot write {path}: {error.strerror}. Choose a folder that can be written and has room."
        ) from error
    return path


def write_json(path: Path | str, record: Mapping[str, Any]) -> Path:
    """Write a record as JSON, whole or not at all; numbers that are not finite are refused."""
    return write_text(path, json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path | str, kind: str) -> dict[str, Any]:
    """Read a JSON object back and check its kind; `read_record` checks every field as well.

    Raises:
        InvalidArgumentError: if the file is missing, is not JSON, or holds another kind of record.
    """
    path = Path(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"), parse_constant=_finite, parse_float=_finite)
    except OSError as error:
        raise InvalidArgumentError(f"Cannot read {path}: {error.strerror}. Check the path.") from error
    except ValueError as error:
        raise InvalidArgumentError(f"{path} is not valid JSON: {error}. Restore the file, or make it again.") from error
    except RecursionError as error:
        raise InvalidArgumentError(
            f"{path} is not valid JSON: nested too deeply. Restore the file, or make it again."
        ) from error
    kind_in_file = record.get("kind") if isinstance(record, dict) else None
    if kind_in_file != kind:
        raise InvalidArgumentError(
            f"{path} must hold a record of kind {kind!r}, got {shortened(kind_in_file)}. Name another file."
        )
    return record


def shortened(value: object) -> str:
    """A value of a file on one line, as an error shows it."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:59]}…"


def _finite(text: str) -> float:
    """A number of a JSON file; Python also reads NaN, Infinity and 1e999, which `write_json` could not write again."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is not a finite number")
    return value
