"""A small recommendation task from installed sources: which functions does a docstring refer its reader to?

SciPy's docstrings have "See Also" sections, in which their authors recommend related functions. A row is a pair of
functions as text; its label says whether the first function's docstring names the second. The sources are parsed and
never imported.
"""

import ast
import functools
import importlib.util
import re
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset

from hf_ctkd.demo.tasks import Pools

SEPARATOR = "[SEP]"
"""Token between the two functions of a pair."""
_WORDS = 9
_SECTION = re.compile(r"See Also\n-+\n(.*?)(?:\n\n[A-Z]\w+\n-+\n|\Z)", re.DOTALL)
_SPLITS = (0.5, 0.8, 0.85)
"""Cumulative shares of the functions: of the two-tower teacher, then of the student's training and validation rows."""


@functools.cache
def see_also(library: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """The first words of each function's docstring, and the pairs whose first function names the second."""
    root = Path(importlib.util.find_spec(library).origin).parent
    docstrings: dict[str, str] = {}
    for path in sorted(root.rglob("*.py")):
        if "tests" not in path.relative_to(root).parts:
            for name, text in _documented(path):
                docstrings.setdefault(name, text)
    pairs = {
        (name, related)
        for name, text in docstrings.items()
        for related in _related(text)
        if related in docstrings and related != name
    }
    summaries = {name: f"{name}: {' '.join(text.split()[:_WORDS])}" for name, text in docstrings.items()}
    return summaries, sorted(pairs)


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


def _related(docstring: str):
    section = _SECTION.search(docstring)
    for line in [] if section is None else section.group(1).splitlines():
        if line and not line[0].isspace():  # names are not indented, their descriptions are
            yield from (name.rpartition(".")[2] for name in re.findall(r"[\w.]+", line.partition(":")[0]))


def pools(library: str = "scipy") -> tuple[Dataset, Pools]:
    """Pairs of the two-tower teacher, and the student's splits; the first function of a pair is in one of them only.

    Each pair that a docstring names comes with a random pair that no docstring names.
    """
    summaries, pairs = see_also(library)
    generator = np.random.default_rng(0)
    linked, names = set(pairs), sorted(summaries)
    sources = generator.permutation(sorted({source for source, _ in pairs}))
    ranks = {source: rank / len(sources) for rank, source in enumerate(sources)}
    splits: list[list[tuple[str, int]]] = [[] for _ in range(len(_SPLITS) + 1)]
    for source, related in pairs:
        unrelated = names[generator.integers(len(names))]
        while {(source, unrelated), (unrelated, source)} & linked or unrelated == source:
            unrelated = names[generator.integers(len(names))]
        split = splits[int(np.searchsorted(_SPLITS, ranks[source], side="right"))]
        for target, label in ((related, 1), (unrelated, 0)):
            split.append((f"{summaries[source]} {SEPARATOR} {summaries[target]}", label))
    teacher, *student = (_rows(split) for split in splits)
    return teacher, Pools(*student)


def _rows(pairs: list[tuple[str, int]]) -> Dataset:
    rows = Dataset.from_dict({"text": [text for text, _ in pairs]})
    return rows.add_column("label", [label for _, label in pairs], feature=ClassLabel(names=["unrelated", "see also"]))
