"""A small recommendation task out of what is installed: which function does a docstring send its reader to?

SciPy's docstrings have "See Also" sections, written by people who knew what a reader of one function wants to look at
next. A row is a pair of functions, as text; its label says whether the first one's docstring names the second. The
sources are parsed, never imported.
"""

import ast
import importlib.util
import re
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset

from hf_ctkd.demo.tasks import Pools

BREAK = "[SEP]"
"""Between the two functions of a pair."""
_WORDS = 9
_SECTION = re.compile(r"See Also\n-+\n(.*?)(?:\n\n[A-Z]\w+\n-+\n|\Z)", re.DOTALL)
_SHARES = (0.5, 0.8, 0.85)
"""Of the functions that are looked at: the first half is the two-tower teacher's, the rest the student's."""


def see_also(library: str = "scipy") -> tuple[dict[str, str], list[tuple[str, str]]]:
    """What each function says of itself in a few words, and the pairs of which the first one names the second."""
    root = Path(importlib.util.find_spec(library).origin).parent
    docstrings: dict[str, str] = {}
    for path in sorted(root.rglob("*.py")):
        if "tests" not in path.relative_to(root).parts:
            for name, text in _documented(path):
                docstrings.setdefault(name, text)
    pairs = {
        (name, other)
        for name, text in docstrings.items()
        for other in _named(text)
        if other in docstrings and other != name
    }
    about = {name: f"{name}: {' '.join(text.split()[:_WORDS])}" for name, text in docstrings.items()}
    return about, sorted(pairs)


def _documented(path: Path):
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            text = ast.get_docstring(node)
            if text:
                yield node.name, text


def _named(docstring: str):
    section = _SECTION.search(docstring)
    for line in [] if section is None else section.group(1).splitlines():
        if line and not line[0].isspace():  # names stand at the margin, what is said of them is indented
            yield from (name.rpartition(".")[2] for name in re.findall(r"[\w.]+", line.partition(":")[0]))


def pools(library: str = "scipy") -> tuple[Dataset, Pools]:
    """Pairs for the two-tower teacher, and those of the student; no function is looked at in two of them.

    Each pair that a docstring names comes with one that it does not, drawn at random.
    """
    about, pairs = see_also(library)
    generator = np.random.default_rng(0)
    linked, names = set(pairs), sorted(about)
    sources = generator.permutation(sorted({source for source, _ in pairs}))
    places = {source: place / len(sources) for place, source in enumerate(sources)}
    parts: list[list[tuple[str, int]]] = [[] for _ in range(len(_SHARES) + 1)]
    for source, other in pairs:
        stranger = names[generator.integers(len(names))]
        while {(source, stranger), (stranger, source)} & linked or stranger == source:
            stranger = names[generator.integers(len(names))]
        part = parts[int(np.searchsorted(_SHARES, places[source], side="right"))]
        part += [(f"{about[source]} {BREAK} {about[other]}", 1), (f"{about[source]} {BREAK} {about[stranger]}", 0)]
    teacher, *student = (_rows(part) for part in parts)
    return teacher, Pools(*student)


def _rows(pairs: list[tuple[str, int]]) -> Dataset:
    rows = Dataset.from_dict({"text": [text for text, _ in pairs]})
    return rows.add_column("label", [label for _, label in pairs], feature=ClassLabel(names=["unrelated", "see also"]))
