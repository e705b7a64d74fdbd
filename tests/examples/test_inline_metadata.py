"""Every example that starts carries its dependencies (PEP 723): `uv run`, `python` and `accelerate launch` start it."""

import ast
import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

tomllib = pytest.importorskip("tomllib")  # part of Python from 3.11 on

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SCRIPTS = [
    path
    for path in sorted((ROOT / "examples").rglob("*.py"))
    # A Space names what it needs in a file of its own, which the Hub reads.
    if '__name__ == "__main__"' in path.read_text() and not (path.parent / "requirements.txt").exists()
]
# As PEP 723 gives it.
BLOCK = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
MODULES = {
    "sentence_transformers": "sentence-transformers",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


def metadata(path):
    (block,) = BLOCK.finditer(path.read_text())
    assert block["type"] == "script"
    lines = block["content"].splitlines()
    return tomllib.loads("\n".join(line.removeprefix("#").removeprefix(" ") for line in lines))


def imported(path):
    """Third-party modules that a script and its neighbours import."""
    neighbours = {other.stem: other for other in path.parent.glob("*.py")}
    modules, queue, read = set(), [path], set()
    while queue:
        read.add(current := queue.pop())
        for node in ast.walk(ast.parse(current.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in {name.partition(".")[0] for name in names} - sys.stdlib_module_names:
                if name in neighbours:
                    queue += [neighbours[name]] if neighbours[name] not in read else []
                else:
                    modules.add(name)
    return modules


def test_there_are_examples_to_start():
    assert len(SCRIPTS) > 8


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT / "examples")))
def test_its_header_names_what_it_imports(path):
    header = metadata(path)
    assert SpecifierSet(header["requires-python"]) == SpecifierSet(PROJECT["requires-python"])
    requirements = [Requirement(text) for text in header["dependencies"]]
    (ours,) = [requirement for requirement in requirements if requirement.name == "hf_ctkd"]
    extras = PROJECT["optional-dependencies"]
    assert ours.extras <= set(extras)
    installed = {Requirement(text).name.lower() for text in PROJECT["dependencies"]}
    installed |= {Requirement(text).name.lower() for extra in ours.extras for text in extras[extra]}
    installed |= {requirement.name for requirement in requirements}
    assert {MODULES.get(name, name) for name in imported(path)} <= installed
    # There is no release yet: uv installs the clone that the script lies in.
    assert (path.parent / header["tool"]["uv"]["sources"]["hf_ctkd"]["path"]).resolve() == ROOT
