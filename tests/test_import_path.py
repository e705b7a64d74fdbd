import doctest

import pytest

from hf_ctkd import import_path
from hf_ctkd.errors import InvalidArgumentError


def test_example_in_docstring_runs():
    result = doctest.testmod(import_path)
    assert result.attempted == 1 and result.failed == 0


@pytest.mark.parametrize("name", ["leep", "package.module", "module:", ":name", ""])
def test_what_is_no_import_path(name):
    assert not import_path.is_import_path(name)


def test_a_module_on_the_path_is_found(tmp_path, monkeypatch):
    (tmp_path / "brought_along.py").write_text("OWN = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert import_path.is_import_path("brought_along:OWN")
    assert import_path.imported("brought_along:OWN", "loss") == 3


@pytest.mark.parametrize(
    ("name", "reason"), [("no.such.module:Loss", "No module named 'no'"), ("math:tau_of_mine", "'tau_of_mine'")]
)
def test_what_cannot_be_imported_is_said_with_the_argument(name, reason):
    with pytest.raises(InvalidArgumentError, match=f"`--loss` '{name}' cannot be imported: {reason}. Put its module"):
        import_path.imported(name, "--loss")
