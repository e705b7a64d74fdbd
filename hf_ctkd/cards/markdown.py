"""Text from other people (names of teachers, labels, files), escaped for Markdown and YAML."""

import json
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from hf_ctkd.records import Confidence

JOINERS = "\u200c\u200d"
"""The two invisible characters that some scripts cannot be written without."""

_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def plain(text: str, limit: int | None = None) -> str:
    """One line without control characters, shortened to `limit` characters.

    Args:
        text: any text.
        limit: longest result, at least 2; None for no limit.
    """
    visible = "".join(c if unicodedata.category(c) not in _UNSEEN or c in JOINERS else " " for c in text)
    line = " ".join(visible.split())
    return line if limit is None or len(line) <= limit else line[: limit - 1].rstrip() + "…"


def escape(text: str, limit: int = 80) -> str:
    r"""Text that Markdown shows literally: in a sentence, a list or a cell of a table.

    Args:
        text: any text.
        limit: most characters; longer text is cut and ends with an ellipsis.

    Example:
        >>> escape("a|b *c*")
        'a\\|b \\*c\\*'
        >>> escape("my_label")
        'my_label'
    """
    line = plain(text, limit)
    line = re.sub(r"[\\`*\[\]|~$]", r"\\\g<0>", line)
    line = re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", line)
    line = re.sub(r"[&<>]", lambda match: _ENTITIES[match.group()], line)
    line = re.sub(r"(?<= )#+$", r"\\\g<0>", line)
    line = re.sub(r"(?<=\w):(?=//)|(?<=www)\.|(?<=\w)@(?=\w)", r"\\\g<0>", line)
    return re.sub(r"^(\d+)?([-+#=.)])(?=\s|#|$|[-=])", lambda m: f"{m.group(1) or ''}\\{m.group(2)}", line)


def fence(text: str, language: str = "") -> str:
    """A block of code that no run of backticks within can close.

    Args:
        text: the code; line breaks are kept, other control characters are not.
        language: name for the highlighter.
    """
    lines = re.split(r"\r\n|\r|\n", text.strip("\r\n"))
    body = "\n".join(
        "".join(c for c in line if c == "\t" or unicodedata.category(c) not in _UNSEEN or c in JOINERS).rstrip()
        for line in lines
    )
    longest = max((len(run) for run in re.findall(r"`+", body)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}{language}\n{body}\n{ticks}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of cells that are safe already; an empty cell becomes a dash."""
    lines = [list(header), ["---"] * len(header), *([cell or "-" for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def listing(names: Sequence[str], limit: int = 10, longest: int = 40) -> str:
    """Names in a sentence, escaped, and how many more there are.

    Args:
        names: what to list.
        limit: most names listed.
        longest: most characters of a name; the id of a model on the Hub has up to 193.
    """
    listed = ", ".join(escape(name, longest) for name in names[:limit])
    return listed if len(names) <= limit else f"{listed} and {len(names) - limit} more"


_ZERO = 1e-6
"""What is closer to 0 comes from rounding."""


def number(value: float | None, sign: bool = False) -> str:
    """A measured number with three decimals, or with a power of ten if very small or large; a dash for None."""
    if value is None:
        return "-"
    if abs(value) < _ZERO:
        value = 0.0
    small = value != 0 and abs(value) < 1e-3
    return format(value, ("+" if sign else "") + (".2e" if small or abs(value) >= 1e5 else ".3f"))


def with_interval(value: Confidence | None, *, sign: bool = False) -> str:
    """A measured value as `number` writes it, with its interval in brackets where that has a width; nothing for None.

    Args:
        value: with or without an interval.
        sign: whether to write the sign of positive numbers too, as a difference needs it.

    Example:
        >>> with_interval(Confidence(0.9, 0.85, 0.93)), with_interval(Confidence(0.02), sign=True)
        ('0.900 (0.850 to 0.930)', '+0.020')
    """
    if value is None:
        return ""
    if value.wide_interval is None:
        return number(value.value, sign=sign)
    low, high = (number(end, sign=sign) for end in value.wide_interval)
    return f"{number(value.value, sign=sign)} ({low} to {high})"


def setting(value: Any) -> str:
    """A setting's value as JSON, escaped."""
    return escape(value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False), 120)


def slug(text: str) -> str:
    """Lower-case letters, digits, points and dashes only: for identifiers and names of files."""
    return re.sub(r"[^a-z0-9.]+", "-", plain(text).lower()).strip("-.") or "unnamed"
