"""The entries of the page of equations, their LaTeX converted to MathML, which browsers show without any script."""

import inspect
import re
from importlib import import_module

from latex2mathml.converter import convert

from docs.generate.equations import DISTANCES, EQUATIONS, SYMBOLS, Equation
from docs.generate.reference import first_sentence
from hf_ctkd.losses.distances import DISTANCES as DISTANCE_CLASSES

_INLINE = re.compile(r"\$([^$]+)\$")
_REFERENCE = re.compile(r"^Reference:\n((?: {4}.*\n?|\n)+)", re.MULTILINE)
_YEAR = re.compile(r"year = \{(\d{4})\},\n\s*eprint = \{([\d.]+)\}")


def math(latex: str, *, display: bool = False) -> str:
    """An equation as MathML.

    Args:
        latex: the equation.
        display: whether it stands on a line of its own.

    Raises:
        ValueError: if the LaTeX holds a command that the converter does not know.
    """
    converted = convert(latex, display="block" if display else "inline")
    if "\\" in converted:
        raise ValueError(f"{latex} holds a command that latex2mathml does not know. Write it with another one.")
    return converted


def with_math(markdown: str) -> str:
    """A text with its LaTeX between dollar signs as MathML.

    Args:
        markdown: the text.
    """
    return _INLINE.sub(lambda match: math(match[1]), markdown)


def symbol_table() -> str:
    """The symbols that all entries share."""
    rows = [f"| {with_math(symbol)} | {with_math(meaning)} |" for symbol, meaning in SYMBOLS.items()]
    return "\n".join(["| symbol | meaning |", "|---|---|", *rows])


def entries(module: str) -> str:
    """One section for each method of a module.

    Args:
        module: a key of `EQUATIONS`.
    """
    methods = vars(import_module(f"hf_ctkd.{module}"))
    return "\n\n".join(
        f"### [`{name}`](reference/{module}.md#hf_ctkd.{module}.{name}) {{ #equation-{name} }}\n\n"
        f"{first_sentence(methods[name])}\n\n{_body(equation)}\n\n{_source(methods[name])}"
        for name, equation in EQUATIONS[module].items()
    )


def distance_entries() -> str:
    """One paragraph for each distance of a projection loss."""
    return "\n\n".join(
        f"`{name}`: {first_sentence(DISTANCE_CLASSES[name])}\n\n{_body(equation)}\n\n{_source(DISTANCE_CLASSES[name])}"
        for name, equation in DISTANCES.items()
    )


def _body(equation: Equation) -> str:
    displays = [f'<div class="equation">{math(latex, display=True)}</div>' for latex in equation.displays]
    # A paragraph must not begin with `<math>`, or Markdown takes all of it for HTML.
    symbols = [f"*Symbols:* {with_math(equation.symbols)}"] if equation.symbols else []
    numbers = [f"*Number:* {with_math(equation.numbers)}"] if equation.numbers else []
    return "\n\n".join([*displays, *symbols, *numbers])


def _source(method: object) -> str:
    """Where a method comes from, in the words of its docstring, each arXiv number with the year of the citation."""
    reference = _REFERENCE.search(inspect.getdoc(method) or "")
    if reference is None:
        return ""
    words = " ".join(reference[1].split())
    text = re.sub(r"^Ours\b", "Introduced with this library", words)
    for year, number in _YEAR.findall(str(vars(method).get("citation", ""))):
        if year not in words:
            text = text.replace(f"arXiv:{number}", f"arXiv:{number}, {year}")
    return f"*Source:* {text}"
