"""The rows of a ranking on disk: workers read them there, instead of being sent them with every teacher."""

import hashlib
import json
import os
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

import torch
from datasets import load_from_disk

from hf_ctkd.data import TargetRows
from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.records import read_json, write_json
from hf_ctkd.types import LabelSpace

_KIND = "scoring-rows"
_RECORD, _ROWS = "rows.json", "rows"


def store_rows(folder: Path, rows: TargetRows) -> Path:
    """Write rows into a folder of their own, whole or not at all; rows that are there already are not written again.

    Args:
        folder: holds one folder for each set of rows; made if absent.
        rows: labelled rows. Image files that they refer to are copied.

    Returns:
        The folder of these rows, for `read_rows`.

    Raises:
        DatasetError: if an image file is missing.
        InvalidArgumentError: if the folder cannot be written.
    """
    record = {
        "modality": rows.modality,
        "input_columns": list(rows.input_columns),
        "label_column": rows.label_column,
        "label_names": list(rows.label_space.names),
        "labels": rows.labels.tolist(),
        "origin": rows.origin.tolist(),
    }
    identity = json.dumps({**record, "fingerprint": rows.fingerprint}, sort_keys=True)
    path = (folder / hashlib.sha256(identity.encode()).hexdigest()[:32]).absolute()
    if path.exists():
        return path
    columns = [*rows.input_columns, rows.label_column]
    temporary: str | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.mkdtemp(dir=folder, prefix=".")
        rows.dataset.select_columns(columns).save_to_disk(Path(temporary) / _ROWS)
        write_json(Path(temporary) / _RECORD, {"kind": _KIND, **record})
        _move(temporary, path)
    except FileNotFoundError as error:
        raise DatasetError(
            f"A file that the rows refer to cannot be read: {error}. Put it back, or pass `skip_bad_rows=True`."
        ) from error
    except OSError as error:
        raise InvalidArgumentError(
            f"Cannot write the rows to {folder}: {error.strerror}. Choose another `cache_dir` that has room."
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return path


def _move(temporary: str, path: Path) -> None:
    try:
        os.rename(temporary, path)
    except OSError:
        if not path.exists():  # else another process has written the same rows meanwhile
            raise


@lru_cache(maxsize=1)  # a worker scores many teachers on the same rows, whose digests it computes once
def read_rows(path: Path) -> TargetRows:
    """Rows that `store_rows` wrote.

    Args:
        path: their folder, as `store_rows` returned it.

    Raises:
        InvalidArgumentError: if they are not there, which a worker without access to the cache sees.
    """
    try:
        record = read_json(path / _RECORD, _KIND)
        dataset = load_from_disk(str(path / _ROWS))
    except (InvalidArgumentError, OSError) as error:
        raise InvalidArgumentError(
            f"A worker cannot read the rows in {path}. Choose a `cache_dir` that all workers can read and write."
        ) from error
    return TargetRows(
        dataset,
        record["modality"],
        tuple(record["input_columns"]),
        record["label_column"],
        LabelSpace(tuple(record["label_names"])),
        torch.tensor(record["labels"]),
        torch.tensor(record["origin"]),
    )
