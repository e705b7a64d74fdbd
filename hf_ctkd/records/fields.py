"""From JSON values to dataclasses, every field checked against its type.

Written by hand: no dependency of hf_ctkd reads dataclasses, and two kinds of records do not justify `pydantic` or
`dacite` as a new one.
"""

import dataclasses
import math
import types
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records.files import read_json

Record = TypeVar("Record")

_NAMES = {str: "a string", int: "a whole number", float: "a finite number", bool: "true or false"}


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
    if version != format or isinstance(version, bool):
        newer = isinstance(version, int) and version > format
        advice = "Install a newer hf_ctkd" if newer else "Make the file again with this version"
        raise InvalidArgumentError(
            f"{path}: the field `format` must be {format}, which this version of hf_ctkd reads, got {version!r}. "
            f"{advice}."
        )
    del values["kind"]
    try:
        return from_json(record_type, values)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{path}: {error} Restore the file, or make it again.") from error


def from_json(record_type: type[Record], values: object, field: str = "") -> Record:
    """One dataclass from JSON values.

    A field with a default may be missing. An unknown field is refused: it may be a misspelt one.

    Args:
        record_type: the dataclass.
        values: what `json.loads` gave for it.
        field: where it stands in the file, such as `teachers[0].candidate`; empty for the whole file.

    Raises:
        InvalidArgumentError: if a field is missing, unknown, or of another type; the message names it.
    """
    if not isinstance(values, dict):
        raise InvalidArgumentError(f"the field `{field}` must be an object, got {_shortened(values)}.")
    types_by_name = get_type_hints(record_type)
    fields = [each for each in dataclasses.fields(record_type) if each.init]  # type: ignore[arg-type] # a dataclass
    unknown = sorted(set(values) - {each.name for each in fields})
    if unknown:
        raise InvalidArgumentError(f"the field `{_joined(field, unknown[0])}` is unknown.")
    arguments = {}
    for each in fields:
        name = _joined(field, each.name)
        if each.name in values:
            arguments[each.name] = _value(types_by_name[each.name], values[each.name], name)
        elif each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
            raise InvalidArgumentError(f"the field `{name}` is missing.")
    try:
        return record_type(**arguments)
    except InvalidArgumentError as error:  # values that do not fit each other, from `__post_init__`
        raise InvalidArgumentError(f"the field `{field}` is wrong: {error}" if field else str(error)) from error


def _value(expected: Any, value: object, field: str) -> Any:  # noqa: ANN401 (a type annotation, and a value of it)
    origin, arguments = get_origin(expected), get_args(expected)
    if expected is Any:
        return value
    if origin in (Union, types.UnionType):  # only "X or None" occurs
        [other] = [argument for argument in arguments if argument is not types.NoneType]
        return None if value is None else _value(other, value, field)
    if origin is Literal:
        if value not in arguments:
            choices = " or ".join(repr(argument) for argument in arguments)
            raise InvalidArgumentError(f"the field `{field}` must be {choices}, got {_shortened(value)}.")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise InvalidArgumentError(f"the field `{field}` must be a list, got {_shortened(value)}.")
        return tuple(_value(arguments[0], item, f"{field}[{index}]") for index, item in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise InvalidArgumentError(f"the field `{field}` must be an object, got {_shortened(value)}.")
        return {key: _value(arguments[1], item, _joined(field, key)) for key, item in value.items()}
    if dataclasses.is_dataclass(expected):
        return from_json(expected, value, field)  # type: ignore[arg-type] # a class, not an instance
    if issubclass(expected, Enum):
        codes = [member.value for member in expected]
        if value not in codes:
            raise InvalidArgumentError(f"the field `{field}` must be one of {codes}, got {_shortened(value)}.")
        return expected(value)
    return _scalar(expected, value, field)


def _scalar(expected: type, value: object, field: str) -> object:
    # In Python, but not in a record, true is a whole number; and 2 is a finite number as well as 2.0.
    accepted = (int, float) if expected is float else (expected,)
    fits = isinstance(value, accepted) and isinstance(value, bool) == (expected is bool)
    if not fits or (isinstance(value, float) and not math.isfinite(value)):
        raise InvalidArgumentError(f"the field `{field}` must be {_NAMES[expected]}, got {_shortened(value)}.")
    return value


def _joined(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name


def _shortened(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:59]}…"
