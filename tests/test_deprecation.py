"""Deprecated names warn once, name their replacement, and are gone when their version comes."""

import ast
import warnings
from pathlib import Path

import pytest
from packaging.version import Version

import hf_ctkd
from hf_ctkd import deprecation
from hf_ctkd.deprecation import deprecated, warn_deprecated

ROOT = Path(hf_ctkd.__file__).parent


@pytest.fixture(autouse=True)
def _new_process(monkeypatch):
    monkeypatch.setattr(deprecation, "_warned", set())


@deprecated("rank_all", removal="9.0.0", instead="`rank`")
def rank_all(count: int) -> int:
    """Counts."""
    return count + 1


def test_a_function_warns_once_where_it_is_called_and_works():
    message = "^`rank_all` is deprecated and will be removed in hf_ctkd 9.0.0. Use `rank`.$"
    with pytest.warns(FutureWarning, match=message) as caught:
        assert rank_all(1) == 2
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rank_all(2) == 3
    assert rank_all.__name__ == "rank_all" and rank_all.__doc__ == "Counts."


def test_an_argument_warns_once_where_the_function_is_called():
    def rank(order=None):
        if order is not None:
            warn_deprecated("rank(order=...)", removal="9.0.0", instead="`rank(metric=...)`")

    with pytest.warns(FutureWarning, match="Use `rank\\(metric=...\\)`.") as caught:
        rank(order=1)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rank(order=1)
        rank()


def overdue(source: str, version: str) -> list[str]:
    """Names in a source file that this version should no longer have."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    names = []
    for call in calls:
        if isinstance(call.func, ast.Name) and call.func.id in ("deprecated", "warn_deprecated"):
            removal = next(keyword.value for keyword in call.keywords if keyword.arg == "removal")
            if isinstance(removal, ast.Constant) and Version(removal.value) <= Version(version):
                names.append(ast.unparse(call.args[0]))
    return names


@pytest.mark.parametrize(("version", "names"), [("0.3.9", []), ("0.4.0", ["'rank'"]), ("1.0", ["'rank'"])])
def test_what_is_overdue_is_noticed(version, names):
    assert overdue("@deprecated('rank', removal='0.4.0', instead='`best`')\ndef rank(): ...", version) == names


def test_nothing_is_overdue():
    late = {path.name: overdue(path.read_text(), hf_ctkd.__version__) for path in ROOT.rglob("*.py")}
    assert not {name: names for name, names in late.items() if names}, "remove them, as their warning promised"
