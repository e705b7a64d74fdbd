"""Every package that the code imports is declared, and nothing newer than Python 3.10 is used."""

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import hf_ctkd

ROOT = Path(hf_ctkd.__file__).parents[1]
PYPROJECT = (ROOT / "pyproject.toml").read_text()
TREES = {path: ast.parse(path.read_text(), feature_version=(3, 10)) for path in (ROOT / "hf_ctkd").rglob("*.py")}
# Of the standard library, newer than Python 3.10: module or module.name.
NEWER = {
    "tomllib",
    "asyncio.TaskGroup",
    "contextlib.chdir",
    "datetime.UTC",
    "enum.StrEnum",
    "enum.verify",
    "hashlib.file_digest",
    "itertools.batched",
    "typing.LiteralString",
    "typing.Never",
    "typing.NotRequired",
    "typing.Required",
    "typing.Self",
    "typing.TypeVarTuple",
    "typing.Unpack",
    "typing.assert_never",
    "typing.assert_type",
    "typing.override",
    "typing.reveal_type",
    "warnings.deprecated",
}


def requirements(key: str) -> list[str]:
    """A list of pyproject.toml, which is one of Python too; Python 3.10 has no parser of TOML."""
    return ast.literal_eval(re.search(rf"^{key} = (\[.*?\])$", PYPROJECT, re.MULTILINE | re.DOTALL)[1])


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;]", name)[0]).lower()


def imported_names(tree: ast.Module) -> set[str]:
    """Modules, and `module.name` for what is imported or read from one."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names.add(f"{node.value.id}.{node.attr}")
    return names


BY_ACCELERATE = {"deepspeed"}
"""Imported only under a launch that uses it, which needs it first."""
FULL = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="Python 3.10 does not tell which package most modules are of"
)


@FULL
def test_every_import_is_declared():
    declared = {normalised(requirement) for requirement in requirements("dependencies")}
    extras = {
        normalised(requirement)
        for extra in ("plots", "demo", "peft", "index", "wordllama", "dask", "onnx", "trackers")
        for requirement in requirements(extra)
    }
    distributions = packages_distributions()
    missing = {}
    for path, tree in TREES.items():
        modules = {name for node in ast.walk(tree) for name in _modules(node)} - sys.stdlib_module_names - {"hf_ctkd"}
        for module in modules:
            names = {normalised(name) for name in distributions.get(module, [module])}
            if not names & (declared | extras | BY_ACCELERATE):
                missing[module] = str(path.relative_to(ROOT))
    assert not missing, f"import without a dependency: {missing}"


@FULL
def test_no_dependency_is_declared_for_nothing():
    modules = {name for tree in TREES.values() for node in ast.walk(tree) for name in _modules(node)}
    distributions = packages_distributions()
    used = {normalised(name) for module in modules for name in distributions.get(module, [])}
    assert {normalised(requirement) for requirement in requirements("dependencies")} <= used


def test_nothing_newer_than_python_3_10_is_used():
    newer = {
        str(path.relative_to(ROOT)): names for path, tree in TREES.items() if (names := imported_names(tree) & NEWER)
    }
    assert not newer


TESTED_ON = {"transformers": "5.18.0"}
"""Oldest versions that the tests run on where these are not the bound: transformers 5.17 needs torchvision."""


def test_bounds_and_oldest_versions_agree():
    lines = (ROOT / "constraints-oldest.txt").read_text().splitlines()
    oldest = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    oldest = {normalised(name): version for name, version in oldest.items()}
    for requirement in requirements("dependencies"):
        name, _, bound = requirement.partition(">=")
        if normalised(name) != "torch":  # its version is `TORCH_OLDEST` of the Makefile
            assert oldest[normalised(name)] == TESTED_ON.get(name, bound), name
    makefile = (ROOT / "Makefile").read_text()
    assert f"torch>={re.search('TORCH_OLDEST [?]= (.*)', makefile)[1]}" in requirements("dependencies")


def _modules(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    return {str(node.module).partition(".")[0]} if isinstance(node, ast.ImportFrom) else set()
