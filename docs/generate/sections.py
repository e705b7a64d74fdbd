"""Docstrings as griffe reads them: `Example` is a section of code, BibTeX a block of its own, an equation is linked."""

import re

from docs.generate.equations import EQUATIONS

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


def with_equation(docstring: str, path: str) -> str:
    """A docstring with a link to the equation, after its first paragraph, where the page of equations has one.

    Args:
        docstring: in Markdown.
        path: of the class or function, with the file that defines it: `hf_ctkd.losses.kl.KLLoss`.
    """
    module, _, name = path.rpartition(".")
    if not any(module.startswith(f"hf_ctkd.{folder}.") and name in names for folder, names in EQUATIONS.items()):
        return docstring
    summary, gap, rest = docstring.partition("\n\n")
    return f"{summary} [Equation][equation-{name}].{gap}{rest}"
