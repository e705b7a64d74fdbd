"""Code of the repository as blocks of a page, so that a page shows what the tests run."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def block(address: str) -> str:
    """A fenced block with a file, or with one function or class of it.

    Args:
        address: `path/to/file.py`, or `path/to/file.py#name`, from the root of the repository.

    Raises:
        ValueError: if the file has no such function or class.
    """
    path, _, name = address.partition("#")
    source = (ROOT / path).read_text(encoding="utf-8")
    text = _definition(source, address, name) if name else source
    return f'```python title="{path}"\n{text.strip()}\n```'


def _definition(source: str, address: str, name: str) -> str:
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return ast.get_source_segment(source, node) or ""
    raise ValueError(f"{address} names no function or class of that file.")


def between(path: str, begin: str, end: str) -> str:
    """The text between two markers of a file.

    Args:
        path: from the root of the repository.
        begin: first marker.
        end: last marker.

    Raises:
        ValueError: if the markers are missing.
    """
    _, begins, rest = (ROOT / path).read_text(encoding="utf-8").partition(begin)
    text, ends, _ = rest.partition(end)
    if not (begins and ends):
        raise ValueError(f"{path} must hold {begin} and then {end}.")
    return text.strip()
