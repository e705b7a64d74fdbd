"""Runs the scripts of `examples/` in this process: a new one would spend seconds on imports alone."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def example_cache(tmp_path_factory):
    """One cache for all examples, so that docstrings are parsed and built-in teachers are trained once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def import_examples(monkeypatch, example_cache):
    """Makes the modules of a folder of `examples/` importable, for one test."""
    before = set(sys.modules)

    def make_importable(folder):
        monkeypatch.syspath_prepend(EXAMPLES / folder)

    monkeypatch.setenv("HF_CTKD_CACHE", str(example_cache))
    yield make_importable
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file is not None and EXAMPLES in Path(file).parents:
            del sys.modules[name]


@pytest.fixture
def run_example(import_examples, monkeypatch, tmp_path, capsys):
    """Runs a script as `python script` does in an empty folder, and returns what it printed."""

    def run(script, *flags):
        path = EXAMPLES / script
        import_examples(path.parent.name)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [path.name, *map(str, flags)])
        runpy.run_path(str(path), run_name="__main__")
        return capsys.readouterr().out

    return run
