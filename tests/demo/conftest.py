import pytest
from datasets import ClassLabel, Dataset

from hf_ctkd.demo.tasks import Pools, assemble_task

LIBRARY = {
    "optim/solve.py": '"""Solve many kinds of equations here."""\n\n\nclass Solver:\n'
    '    """A solver that takes small steps."""\n\n'
    '    def step(self):\n        """Take one small step downhill.\n\n        More of it.\n        """\n',
    "optim/again.py": 'def step():\n    """take one SMALL step, downhill"""\n\n\ndef short():\n    """Too short."""\n',
    "signal/filter.py": 'async def smooth():\n    """Smooth a signal over time."""\n    def inner():\n'
    '        """Never seen by any user."""\n',
    "signal/broken.py": 'def (:\n    """This file does not parse."""\n',
    "signal/tests/test_filter.py": '"""A test says nothing of its package."""\n',
    "_private/secret.py": '"""Private packages are left out entirely."""\n',
    "top.py": '"""Modules at the top have no sub-package."""\n',
}


@pytest.fixture
def library(tmp_path):
    for name, source in LIBRARY.items():
        path = tmp_path / "library" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return tmp_path / "library"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_CTKD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def text_task():
    words = ("solve the equation number", "filter the signal number")
    texts = [f"{words[row % 2]} {row}" for row in range(60)]
    rows = Dataset.from_dict({"text": texts}).add_column(
        "label", [row % 2 for row in range(60)], feature=ClassLabel(names=["optimize", "signal"])
    )
    pools = Pools(rows.select(range(40)), rows.select(range(40, 50)), rows.select(range(50, 60)))
    return assemble_task("toy", "text", pools, labels=8, seed=0)
