"""What an index stores of a teacher: its metadata, one row of a Parquet file."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from hf_ctkd.errors import InvalidArgumentError, ProblemCode
from hf_ctkd.hub.metadata import is_untrained
from hf_ctkd.records import TeacherCandidate

_TEXTS = pa.list_(pa.string())
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("revision", pa.string()),
        ("source", pa.string()),
        ("task", pa.string()),
        ("parameters", pa.int64()),
        ("license", pa.string()),
        ("downloads", pa.int64()),
        ("languages", _TEXTS),
        ("tags", _TEXTS),
        ("label_names", _TEXTS),  # null where there is no head, or its names are not known
        ("gated", pa.bool_()),
        ("problem", pa.string()),
        ("problem_code", pa.string()),
    ]
)
"""The columns of an index, in their order."""
_CODES = {member.value for member in ProblemCode}


@dataclass(frozen=True)
class TeacherSpecification:
    """A teacher's metadata, without weights.

    Args:
        candidate: the teacher, pinned to a revision.
        tags: all its tags on the Hub.
        gated: whether its author must grant access first.

    Raises:
        InvalidArgumentError: if the candidate is a control with random weights.
    """

    candidate: TeacherCandidate
    tags: tuple[str, ...] = ()
    gated: bool = False

    def __post_init__(self) -> None:
        if self.candidate.random_weights:
            raise InvalidArgumentError(
                f"`source` holds {self.candidate.name!r}, but an index holds pretrained teachers only. Leave controls "
                "out; `TeacherSelector` adds its own."
            )

    def row(self) -> dict[str, Any]:
        """The values of the columns of `SCHEMA`."""
        candidate = self.candidate
        code = candidate.problem_code
        return {
            "id": candidate.model_id,
            "revision": candidate.revision,
            "source": candidate.source,
            "task": candidate.task,
            "parameters": candidate.parameters,
            "license": candidate.license,
            "downloads": candidate.downloads,
            "languages": list(candidate.languages),
            "tags": list(self.tags),
            "label_names": None if candidate.label_names is None else list(candidate.label_names),
            "gated": self.gated,
            "problem": candidate.problem,
            "problem_code": None if code is None else code.value,
        }


def table_of(specifications: Iterable[TeacherSpecification]) -> pa.Table:
    """Specifications as an Arrow table with the columns of `SCHEMA`.

    Args:
        specifications: in the order of the rows.
    """
    return pa.Table.from_pylist([specification.row() for specification in specifications], schema=SCHEMA)


def candidates_of(table: pa.Table) -> list[TeacherCandidate]:
    """The teachers of an index's rows.

    Args:
        table: with the columns of `SCHEMA`.
    """
    return [_candidate(row) for row in table.to_pylist()]


def checked(table: pa.Table, name: str) -> pa.Table:
    """The columns of an index of a table that may come from anywhere.

    Args:
        table: as it was read.
        name: of its file, for the message.

    Raises:
        InvalidArgumentError: if a column is missing or has another type.
    """
    missing = [column for column in SCHEMA.names if column not in table.column_names]
    if missing:
        raise InvalidArgumentError(
            f"{name} is no index of teachers: its column {missing[0]!r} is missing. Name a file that "
            "`TeacherIndex.build` or `hf-ctkd index build` wrote."
        )
    try:
        return table.select(SCHEMA.names).cast(SCHEMA)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise InvalidArgumentError(
            f"{name} is no index of teachers: {' '.join(str(error).split())}. Name a file that `TeacherIndex.build` or "
            "`hf-ctkd index build` wrote."
        ) from error


def _candidate(row: dict[str, Any]) -> TeacherCandidate:
    names, code = row["label_names"], row["problem_code"]
    return TeacherCandidate(
        model_id=row["id"],
        revision=row["revision"],
        source="folder" if row["source"] == "folder" else "hub",
        task=row["task"],
        label_names=None if names is None else tuple(names),
        parameters=row["parameters"],
        license=row["license"],
        downloads=row["downloads"],
        languages=tuple(row["languages"] or ()),
        problem=row["problem"],
        # An index of a later version may know more codes.
        problem_code=None if code is None else ProblemCode(code if code in _CODES else "unknown"),
        untrained=is_untrained(row["tags"]),
    )
