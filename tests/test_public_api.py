"""What users import, and what it costs them."""

import ast
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import hf_ctkd

ROOT = Path(hf_ctkd.__file__).parent
HEAVY = {"torch", "transformers", "datasets", "accelerate", "numpy", "pandas", "matplotlib", "sklearn", "ot"}


def _static_mirror() -> dict[str, str]:
    tree = ast.parse((ROOT / "__init__.py").read_text())
    guarded = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    return {
        alias.name: statement.module
        for block in guarded
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }


def test_static_mirror_equals_the_lazy_root():
    assert _static_mirror() == hf_ctkd._DEFINED_IN


@pytest.mark.parametrize("name", sorted(hf_ctkd._DEFINED_IN))
def test_every_public_name_can_be_imported_and_documents_itself(name):
    value = getattr(hf_ctkd, name)
    assert value.__doc__ and len(value.__doc__.split()) > 3


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'NoSuchThing'"):
        hf_ctkd.NoSuchThing  # noqa: B018


def test_every_loss_and_metric_is_exported_from_its_folder():
    for folder, base in (("losses", "DistillationLoss"), ("metrics", "TransferabilityMetric"), ("costs", "LabelCost")):
        package = __import__(f"hf_ctkd.{folder}", fromlist=["__all__"])
        exported = vars(package)
        for path in (ROOT / folder).glob("*.py"):
            if path.name == "base.py":
                continue  # bases for one's own methods
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef) and any(base in ast.unparse(parent) for parent in node.bases):
                    assert node.name.startswith("_") or node.name in exported, f"{folder} does not export {node.name}"


def _loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_importing_the_root_loads_nothing_heavy():
    assert not HEAVY & _loaded_by("import hf_ctkd")


def test_records_hub_cards_and_publishing_need_no_torch():
    code = "import hf_ctkd.records, hf_ctkd.hub, hf_ctkd.cards"
    assert not {"torch", "transformers"} & _loaded_by(code)


def test_help_loads_nothing_heavy():
    code = (
        "import contextlib, io\nfrom hf_ctkd.cli.main import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n    main(['--help'])"
    )
    assert not HEAVY & _loaded_by(code)


def test_importing_the_root_is_quick():
    # Best of several: this is about what the import does, not about what else the machine is doing.
    code = "import time; s = time.perf_counter(); import hf_ctkd; print(time.perf_counter() - s)"
    seconds = []
    stop = time.monotonic() + 20
    while time.monotonic() < stop and not (seconds and min(seconds) < 0.1):
        seconds.append(float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout))
    assert min(seconds) < 0.1


def test_the_exported_names_are_those_of_the_lazy_root():
    assert hf_ctkd.__all__ == ["__version__", *sorted(hf_ctkd._DEFINED_IN)]
