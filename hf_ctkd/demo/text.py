"""Text data without a download: docstrings of installed libraries, labelled by sub-package.

The source files are parsed and never imported, which is fast and runs no foreign code.
"""

import ast
import hashlib
import importlib.metadata
import importlib.util
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets import ClassLabel, Dataset

from hf_ctkd.errors import DatasetError, MissingExtraError
from hf_ctkd.records import default_cache

FORMAT = 1
"""Increase it when the collected docstrings change, so that old cache files are not read."""

DEPTHS = {"pandas": 2, "transformers": 1}
"""Number of folders in a label where it is not one; nearly all of pandas is in `core` and `io`."""

_SKIPPED_PARTS = frozenset({"tests", "test", "testing", "conftest", "externals", "vendored", "models", "compat"})
_SKIPPED_LABELS = frozenset({"torch/ao", "torch/onnx"})
_DISTRIBUTIONS = {"sklearn": "scikit-learn", "ot": "POT", "fontTools": "fonttools"}


@dataclass(frozen=True)
class Docstring:
    """The first paragraph of one docstring.

    Args:
        text: the paragraph, on one line.
        package: its sub-package ("optimize", or "core.arrays" at depth two).
        kind: "module", "class", "function" or "method".
    """

    text: str
    package: str
    kind: str


def distribution_of(library: str) -> str:
    """The name of a library on the package index."""
    return _DISTRIBUTIONS.get(library, library)


def text_key(text: str) -> str:
    """A hash of the words of a text, without case and punctuation, so that copies in different libraries agree."""
    return hashlib.sha256(" ".join(re.findall(r"\w+", text.lower())).encode()).hexdigest()


def docstrings_dataset(
    library: str, *, min_rows: int = 40, label: str = "package", cache: Path | None = None
) -> Dataset:
    """First paragraphs of a library's docstrings as `text` and `label`, in a fixed order.

    Use it for text tasks and teachers without a network. Texts may contain their label: a docstring of `scipy.optimize`
    may contain "optimize" or the name of its module. The rows depend on the installed version of the library; repeated
    texts (see `text_key`) are dropped.

    Args:
        library: an installed top-level package with Python sources.
        min_rows: classes with fewer rows are dropped, at least 1.
        label: "package", the sub-package; or "kind": module, class, function or method.
        cache: folder of parsed docstrings; `default_cache()` if not given.

    Raises:
        MissingExtraError: if the library is not installed.
        DatasetError: if fewer than two classes have `min_rows` rows.
    """
    rows = load_docstrings(library, cache=cache)
    values = [row.kind if label == "kind" else row.package for row in rows]
    counts = Counter(values)
    names = sorted(name for name, count in counts.items() if count >= min_rows)
    if len(names) < 2:
        raise DatasetError(
            f"`library` {library!r} has {len(names)} classes of `min_rows`={min_rows} docstrings, but two are needed. "
            "Lower `min_rows` or take another library."
        )
    class_id = {name: index for index, name in enumerate(names)}
    labelled = [(row.text, class_id[value]) for row, value in zip(rows, values, strict=True) if value in class_id]
    dataset = Dataset.from_dict({"text": [text for text, _ in labelled]})
    return dataset.add_column("label", [index for _, index in labelled], feature=ClassLabel(names=names))


def load_docstrings(library: str, *, cache: Path | None = None) -> list[Docstring]:
    """A library's docstrings, parsed once per installed version and read from `cache` afterwards.

    Args:
        library: an installed top-level package with Python sources.
        cache: folder of parsed docstrings; `default_cache()` if not given.

    Raises:
        MissingExtraError: if the library is not installed.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = _source_folder(library)
    version = importlib.metadata.version(distribution_of(library))
    path = (cache or default_cache()) / "docstrings" / f"{library}-{version}-{FORMAT}.parquet"
    if path.is_file():
        return [Docstring(**row) for row in pq.read_table(path).to_pylist()]
    rows = collect_docstrings(folder, library=library, depth=DEPTHS.get(library, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    columns = {field: [vars(row)[field] for row in rows] for field in ("text", "package", "kind")}
    pq.write_table(pa.table(columns), partial)
    partial.replace(path)
    return rows


def collect_docstrings(folder: Path, *, library: str = "", depth: int = 1) -> list[Docstring]:
    """Parse the docstrings of a folder of Python sources, in the order of paths and lines, without repetitions.

    Private and vendored sub-packages, tests, texts of fewer than four words and files that do not parse are skipped.

    Args:
        folder: root of the sources.
        library: name of the library, for exclusions of single sub-packages.
        depth: number of folders in a label.
    """
    docstrings: dict[str, Docstring] = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        package = ".".join(parts[:depth])
        private = any(part.startswith("_") for part in parts[:depth])
        if len(parts) < 2 or private or _SKIPPED_PARTS & set(parts) or f"{library}/{package}" in _SKIPPED_LABELS:
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for kind, text in _paragraphs(tree):
            if len(text.split()) >= 4:
                docstrings.setdefault(text_key(text), Docstring(text, package, kind))
    return list(docstrings.values())


def _paragraphs(tree: ast.Module) -> Iterator[tuple[str, str]]:
    pending: list[tuple[ast.AST, bool]] = [(tree, False)]
    while pending:
        node, in_class = pending.pop(0)
        is_class = isinstance(node, ast.ClassDef)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            kind = "class" if is_class else "module" if isinstance(node, ast.Module) else "function"
            paragraph = (ast.get_docstring(node) or "").split("\n\n")[0]
            yield ("method" if in_class and kind == "function" else kind), " ".join(paragraph.split())
        # Functions inside functions are private; blocks such as `if` at module level may hold documented ones.
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.expr):
            pending.extend((child, is_class) for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt))


def _source_folder(library: str) -> Path:
    spec = importlib.util.find_spec(library)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            f"`library` {library!r} is not installed as a package with Python sources. "
            "Install it, or `pip install hf_ctkd[demo]`."
        )
    return Path(next(iter(spec.submodule_search_locations)))
