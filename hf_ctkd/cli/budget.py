"""`--budget` and `--dry_run` of `hf-ctkd select`."""

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hf_ctkd.errors import InvalidArgumentError, TeacherUnavailableError
from hf_ctkd.records.text import parameter_count, text_table

if TYPE_CHECKING:
    from hf_ctkd.records import TeacherCandidate
    from hf_ctkd.selection import SelectionBudget
    from hf_ctkd.teachers import LoadOptions

_LIMIT = re.compile(r"(?P<number>\d+(\.\d*)?|\.\d+)(?P<unit>[a-z]+)", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_BYTES = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}


def budget_of(words: Sequence[str]) -> "SelectionBudget | None":
    """The budget that the words of `--budget` describe; None without words.

    Args:
        words: such as `["10m", "5GB"]`: minutes, and bytes of downloads.

    Raises:
        InvalidArgumentError: if a word is no limit, or two limit the same.
    """
    if not words:
        return None
    limits: dict[str, float] = {}
    for word in words:
        kind, value = _limit(word)
        if kind in limits:
            raise InvalidArgumentError(f"`budget` limits {kind} twice, by {word!r} the second time. Leave one out.")
        limits[kind] = value
    from hf_ctkd.selection import SelectionBudget

    whole = {kind: int(limits[kind]) for kind in ("forwards", "bytes") if kind in limits}
    return SelectionBudget(seconds=limits.get("seconds"), forwards=whole.get("forwards"), bytes=whole.get("bytes"))


def _limit(word: str) -> tuple[str, float]:
    match = _LIMIT.fullmatch(word)
    if match is not None:
        number, unit = float(match["number"]), match["unit"].lower()
        amounts = {"seconds": _SECONDS.get(unit), "bytes": _BYTES.get(unit), "forwards": 1 if unit == "rows" else None}
        for kind, factor in amounts.items():
            if factor is not None and number * factor < math.inf:  # a number of 400 digits is infinite
                return kind, number * factor
    raise InvalidArgumentError(
        f"`budget` {word!r} is no limit. Give a time such as 30s, 10m or 2h, a size of downloads such as 500MB or "
        "5GB, or a number of rows such as 20000rows."
    )


def downloads(
    candidates: "Sequence[TeacherCandidate]", options: "LoadOptions", budget: "SelectionBudget | None" = None
) -> str:
    """A table of the bytes that each candidate's download takes, and their sum.

    Args:
        candidates: in the order in which a budget of bytes is spent.
        options: how teachers are fetched.
        budget: whose bytes are dealt out; None, or without bytes, if all may be downloaded.
    """
    left = None if budget is None else budget.bytes
    lines: list[list[str]] = []
    total: list[int] = []
    fitting: list[int] = []
    for candidate in candidates:
        name, parameters = candidate.name, parameter_count(candidate.parameters)
        try:
            size = options.download_bytes(candidate)
        except TeacherUnavailableError as error:
            lines.append([name, parameters, f"cannot be used: {error}", "-"])
            continue
        total.append(size)
        if left is None or sum(fitting) + size <= left:
            fitting.append(size)
            lines.append([name, parameters, f"{size:,}", "yes"])
        else:
            lines.append([name, parameters, f"{size:,}", "no"])
    header = ["teacher", "parameters", "bytes to download", "within --budget"]
    columns = len(header) - (left is None)
    table = text_table(header[:columns], [line[:columns] for line in lines]) if lines else "No candidates."
    counted = f"{len(total)} teachers, {sum(total):,} bytes to download"
    if left is not None:
        counted += f", of which {len(fitting)} with {sum(fitting):,} bytes are within the budget of {left:,} bytes"
    return f"{table}\n{counted}. Nothing was downloaded."
