import doctest
import pickle

from hf_ctkd import errors
from hf_ctkd.errors import ProblemCode, TeacherUnavailableError


def test_a_code_travels_with_its_error_between_processes():
    error = pickle.loads(pickle.dumps(TeacherUnavailableError("it is gated.", ProblemCode.GATED)))
    assert (str(error), error.code) == ("it is gated.", ProblemCode.GATED)
    assert TeacherUnavailableError("odd").code is ProblemCode.UNKNOWN


def test_examples():
    assert doctest.testmod(errors).failed == 0
