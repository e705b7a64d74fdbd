"""Plain text tables for the terminal."""

from collections.abc import Sequence


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned by width: the text ones left, the numeric ones right.

    Example:
        >>> print(text_table(["teacher", "score"], [["a", "0.5"], ["bcd", "12.25"]]))
        teacher  score
        a          0.5
        bcd      12.25
    """
    columns = list(zip(header, *rows, strict=True))
    widths = [max(len(cell) for cell in column) for column in columns]
    numeric = [all(_is_number(cell) for cell in column[1:]) for column in columns]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        for row in (header, *rows)
    ]
    return "\n".join(line.rstrip() for line in lines)


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit() or cell == "-" or (cell[:1] in "+-." and cell[1:2].isdigit())
