"""Who may import whom: a file imports from lower levels or from its own folder, in-function imports included."""

import ast
from pathlib import Path

import pytest

import hf_ctkd

ROOT = Path(hf_ctkd.__file__).parent
LEVELS = (
    {"errors", "_version"},
    {"types", "records", "import_path"},
    {"ot"},
    {"data", "hub"},
    {"probes"},
    {"teachers", "costs"},
    {"metrics", "losses", "cards"},
    {"tasks"},
    {"selection", "training"},
    {"generic", "demo", "testing"},
    {"cli"},
    {"__main__"},
)
LEVEL = {area: level for level, areas in enumerate(LEVELS) for area in areas}
FILES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem != "__init__")


def _imported_areas(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "hf_ctkd"}
    return {name.split(".")[1] for name in found if name.startswith("hf_ctkd.")} & set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_imports_from_below_or_from_its_own_folder(path):
    area = path.relative_to(ROOT).parts[0].removesuffix(".py")
    assert area in LEVEL, f"{area} has no level"
    wrong = {other for other in _imported_areas(path) if other != area and LEVEL[other] >= LEVEL[area]}
    assert not wrong, f"{area} (level {LEVEL[area]}) imports {sorted(wrong)}"


def test_rule_would_notice_an_import_from_above(tmp_path):
    path = tmp_path / "ot.py"
    path.write_text("def f():\n    from hf_ctkd.losses import RowTransportLoss\n")
    assert _imported_areas(path) == {"losses"}


def test_no_file_is_longer_than_the_house_allows():
    long = {str(path.relative_to(ROOT)): n for path in FILES if (n := len(path.read_text().splitlines())) > 800}
    assert not long
