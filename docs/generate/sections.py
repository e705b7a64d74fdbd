"""Docstrings as griffe reads them: `Example` is a section of code, BibTeX is a block of its own."""

import re

_SECTION = re.compile(r"^(\s*)Example:$", re.MULTILINE)
_LITERAL = re.compile(r"::$", re.MULTILINE)
_BIBTEX = re.compile(r"^( *)@\w+\{.*?^\1\}", re.DOTALL | re.MULTILINE)


def as_markdown(docstring: str) -> str:
    """A docstring in the Markdown dialect of griffe's Google style.

    Args:
        docstring: as in the source.
    """
    plain = _LITERAL.sub(":", _SECTION.sub(r"\1Examples:", docstring))
    return _BIBTEX.sub(lambda match: f"{match[1]}```bibtex\n{match[0]}\n{match[1]}```", plain)
