"""Which files may import which: lower levels or the own folder, without cycles, in-function imports included."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import hf_ctkd

ROOT = Path(hf_ctkd.__file__).parent
LEVELS = (
    {"errors", "deprecation", "_version"},
    {"types", "records", "worker"},
    {"ot"},
    {"data", "hub"},
    {"probes", "index"},
    {"teachers", "costs"},
    {"metrics", "losses", "cards"},
    {"tasks"},
    {"selection", "training", "evaluation"},
    {"generic", "demo", "testing"},
    {"cli"},
    {"__main__"},
)
LEVEL = {area: level for level, areas in enumerate(LEVELS) for area in areas}
FILES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem != "__init__")


def _module(path: Path, root: Path = ROOT) -> str:
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> set[tuple[str, str]]:
    """Pairs of a module and the name that is imported from it, "" for the module itself."""
    pairs = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            pairs |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            pairs |= {(node.module or "", alias.name) for alias in node.names}
    return pairs


def _imported_areas(path: Path) -> set[str]:
    names = {f"{module}.{name}" for module, name in _imports(path)}
    return {name.split(".")[1] for name in names if name.startswith("hf_ctkd.")} & set(LEVEL)


def _graph(root: Path) -> dict[str, set[str]]:
    """From each module to the modules that it imports; a name that an `__init__` re-exports leads to its own module."""
    paths = {_module(path, root): path for path in root.rglob("*.py")}
    facades = {module for module, path in paths.items() if path.stem == "__init__"}
    exported = {module: {name: source for source, name in _imports(paths[module])} for module in facades}

    def defining(module: str, name: str) -> str:
        if f"{module}.{name}" in paths:
            return f"{module}.{name}"
        source = exported.get(module, {}).get(name)
        return module if source is None else defining(source, name)

    return {
        module: {source for pair in _imports(path) if (source := defining(*pair)) in paths} - facades
        for module, path in paths.items()
        if module not in facades
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_imports_from_below_or_from_its_own_folder(path):
    area = path.relative_to(ROOT).parts[0].removesuffix(".py")
    assert area in LEVEL, f"{area} has no level"
    wrong = {other for other in _imported_areas(path) if other != area and LEVEL[other] >= LEVEL[area]}
    assert not wrong, f"{area} (level {LEVEL[area]}) imports {sorted(wrong)}"


def test_the_rule_notices_an_import_from_above(tmp_path):
    path = tmp_path / "ot.py"
    path.write_text("def f():\n    from hf_ctkd.losses import RowTransportLoss\n")
    assert _imported_areas(path) == {"losses"}


def test_modules_import_each_other_without_cycles():
    TopologicalSorter(_graph(ROOT)).prepare()  # raises CycleError, which names the modules


@pytest.mark.parametrize(
    "import_of_a",
    ["from pkg.a import f", "from pkg import f", "import pkg.a", "from pkg import a",
     "def g():\n    from pkg.a import f", "if TYPE_CHECKING:\n    from pkg import f"],
)  # fmt: skip
def test_the_rule_notices_a_cycle(tmp_path, import_of_a):
    package = tmp_path / "pkg"
    package.mkdir()
    (package / "__init__.py").write_text("from pkg.a import f\n")
    (package / "a.py").write_text("from pkg.b import g\n")
    (package / "b.py").write_text(f"{import_of_a}\n")
    with pytest.raises(CycleError) as error:
        TopologicalSorter(_graph(package)).prepare()
    assert set(error.value.args[1]) == {"pkg.a", "pkg.b"}


def test_no_file_is_longer_than_800_lines():
    long = {str(path.relative_to(ROOT)): n for path in FILES if (n := len(path.read_text().splitlines())) > 800}
    assert not long
