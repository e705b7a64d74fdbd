import doctest
import pickle

import pytest

from hf_ctkd import errors
from hf_ctkd.errors import InvalidArgumentError, ProblemCode, TeacherUnavailableError, resolve_name


def test_a_code_travels_with_its_error_between_processes():
    error = pickle.loads(pickle.dumps(TeacherUnavailableError("it is gated.", ProblemCode.GATED)))
    assert (str(error), error.code) == ("it is gated.", ProblemCode.GATED)
    assert TeacherUnavailableError("odd").code is ProblemCode.UNKNOWN


def test_examples():
    assert doctest.testmod(errors).failed == 0


def test_an_object_of_a_module_on_the_path_is_resolved(tmp_path, monkeypatch):
    (tmp_path / "brought_along.py").write_text("OWN = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert resolve_name("brought_along:OWN", "loss") == 3


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no.such.module:Loss", "No module named 'no'"),
        ("math:tau_of_mine", "module 'math' has no attribute 'tau_of_mine'"),
        ("math.h:", "No module named 'math.h'"),
        (":name", "invalid format: ':name'"),
    ],
)
def test_the_argument_and_the_reason_are_named_where_nothing_can_be_imported(name, reason):
    with pytest.raises(InvalidArgumentError, match=f"`--loss` '{name}' cannot be imported: {reason}.* Put its module"):
        resolve_name(name, "--loss")
