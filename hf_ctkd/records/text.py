"""Text for people: names without folders of this machine, names in a figure, numbers of parameters, plain tables."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path


def last_name(name: str) -> str:
    """Of an absolute path its last name; any other name as it is.

    Use it before a record leaves this machine: a whole path tells others where things lie on it.

    Args:
        name: an id on the Hub, a description, or a path.

    Example:
        >>> last_name("/home/me/data/flowers"), last_name("me/flowers")
        ('flowers', 'me/flowers')
    """
    return Path(name).name if Path(name).is_absolute() else name


def distinct_names(names: Sequence[str]) -> list[str]:
    """The names, of which those that were there before get their number: folders of models are often called alike.

    Args:
        names: some of which may be equal.

    Example:
        >>> distinct_names(["best", "zoo/letters", "best"])
        ['best', 'zoo/letters', 'best (2)']
    """
    seen: Counter[str] = Counter()
    distinct = []
    for name in names:
        seen[name] += 1
        distinct.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return distinct


def without_folder(text: str, folder: Path, name: str) -> str:
    """A message in which a folder of this machine is replaced by the name of what it holds.

    Args:
        text: of an error about files in the folder.
        folder: that the message may name.
        name: to write instead.

    Example:
        >>> without_folder("no config.json in /cache/0a1b", Path("/cache/0a1b"), "org/model")
        'no config.json in org/model'
    """
    for path in {folder.absolute(), folder.resolve()}:
        text = text.replace(str(path), name)
    return text


def drawable(text: str, limit: int = 40, otherwise: str | None = None) -> str:
    """A name that matplotlib draws as it is: no mathematics, no missing glyphs, no endless lines.

    Args:
        text: the name.
        limit: longest name, shortened in its middle.
        otherwise: what to draw when most characters are missing from the font (Chinese labels, emoji); by default the
            missing ones become question marks.
    """
    from matplotlib.font_manager import FontProperties, findfont, get_font

    glyphs = get_font(findfont(FontProperties())).get_charmap()
    line = " ".join(text.split())
    missing = sum(ord(character) not in glyphs for character in line)
    if otherwise is not None and missing > len(line) / 2:
        line = otherwise
    line = "".join(character if ord(character) in glyphs else "?" for character in line)
    if len(line) > limit:
        head = (limit - 1) // 2
        line = f"{line[:head]}…{line[-(limit - 1 - head) :]}"
    return line.replace("$", r"\$")


def parameter_count(parameters: int | None) -> str:
    """A number of parameters with three digits; "unknown" for None.

    Example:
        >>> parameter_count(22_700_000), parameter_count(999)
        ('22.7M', '999')
    """
    if parameters is None:
        return "unknown"
    for unit, factor in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if parameters >= factor:
            return f"{parameters / factor:.3g}{unit}"
    return str(parameters)


def parameters_in_words(parameters: int | None) -> str:
    """A number of parameters as a sentence has it; "unknown" for None.

    Example:
        >>> parameters_in_words(1_234_567), parameters_in_words(304_400_000), parameters_in_words(20_906)
        ('1.2 million', '304 million', '20,906')
    """
    if parameters is None:
        return "unknown"
    for unit, factor in (("billion", 1e9), ("million", 1e6)):
        if parameters >= factor:
            number = parameters / factor
            return f"{number:,.0f} {unit}" if number >= 100 else f"{number:.1f}".removesuffix(".0") + f" {unit}"
    return f"{parameters:,}"


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for the terminal, columns aligned by width: the text ones left, the numeric ones right.

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
