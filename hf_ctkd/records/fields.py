"""From JSON to dataclasses, every field checked against its type by pydantic."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records.files import read_json, shortened

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Record = TypeVar("Record")

_PREFIX = "Input should be "  # how pydantic begins most of its messages


def read_record(path: Path | str, record_type: type[Record], *, kind: str, format: int) -> Record:
    """Read a file that holds one record.

    Args:
        path: the file, with `kind` and `format` beside the record's own fields.
        record_type: a dataclass of strings, numbers, mappings, tuples and further dataclasses.
        kind: what kind of record the file must hold.
        format: version of its fields that this code reads.

    Raises:
        InvalidArgumentError: if the file is missing, cut off, of another kind or format, or if a field is missing,
            unknown or of another type; the message names the file and the field.
    """
    values = read_json(path, kind)
    version = values.pop("format", None)
    if type(version) is not int or version != format:  # in Python, but not in a record, true is 1
        newer = isinstance(version, int) and version > format
        advice = "Install a newer hf_ctkd" if newer else "Make the file again with this version"
        raise InvalidArgumentError(
            f"{path}: the field `format` must be {format}, which this version of hf_ctkd reads, got "
            f"{shortened(version)}. {advice}."
        )
    del values["kind"]
    try:
        return from_json(record_type, values)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{path}: {error} Restore the file, or make it again.") from error


def from_json(record_type: type[Record], values: Mapping[str, Any]) -> Record:
    """One dataclass from JSON values.

    A field with a default may be missing. An unknown field is refused: it may be a misspelt one.

    Args:
        record_type: the dataclass.
        values: what `json.loads` gave for it.

    Raises:
        InvalidArgumentError: if a field is missing, unknown, or of another type; the message names it.
    """
    from pydantic import ValidationError

    try:
        # As JSON, since only there a strict reader takes a list for a tuple and a string for an enumeration.
        return _reader(record_type).validate_json(json.dumps([values]))[0]  # type: ignore[arg-type] # a class is hashable
    except ValidationError as error:
        raise InvalidArgumentError(_message(error.errors()[0])) from error


@cache
def _reader(record_type: type) -> "TypeAdapter[Any]":
    """Reads a list of one record: pydantic takes a configuration for a tuple, and hands it on to plain dataclasses."""
    from pydantic import ConfigDict, TypeAdapter  # takes 0.1 s, and most programs read no record

    config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    return TypeAdapter(tuple[record_type], config=config)  # type: ignore[valid-type, arg-type] # known at run time alone


def _message(problem: Mapping[str, Any]) -> str:
    field = _field(problem["loc"][1:])
    if problem["type"] == "value_error":  # values that do not fit each other, from `__post_init__`
        reason = str(problem["ctx"]["error"])
        return f"the field `{field}` is wrong: {reason}" if field else reason
    if problem["type"] == "missing":
        return f"the field `{field}` is missing."
    if problem["type"] == "unexpected_keyword_argument":
        return f"the field `{field}` is unknown."
    text = problem["msg"]
    requirement = f"must be {text.removeprefix(_PREFIX)}" if text.startswith(_PREFIX) else f"is wrong: {text}"
    return f"the field `{field}` {requirement}, got {shortened(problem['input'])}."


def _field(location: Sequence[str | int]) -> str:
    """Where a field is in the file, such as `teachers[0].candidate`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")
