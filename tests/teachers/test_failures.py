import pytest
import torch

from hf_ctkd.errors import DatasetError, ProblemCode, TeacherUnavailableError
from hf_ctkd.teachers.failures import does_not_fit, skipped_on_failure


class OwnError(Exception):
    """What code of a repository may raise."""


class PanicException(BaseException):
    """As Rust's panics come out of tokenizers."""


def failing(error: BaseException, **settings):
    with skipped_on_failure("cannot be run", ProblemCode.BROKEN, **settings):
        raise error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OwnError("odd\n value"), "odd value"),
        (PanicException("index out of bounds"), "index out of bounds"),
        (KeyError("weight"), "KeyError 'weight'"),
        (EOFError(), "EOFError"),
        (SystemExit(3), "SystemExit 3"),
        (RecursionError("maximum recursion depth exceeded"), "maximum recursion depth exceeded"),
    ],
)
def test_whatever_a_model_raises_is_a_reason_to_skip_it(error, reason):
    with pytest.raises(TeacherUnavailableError) as raised:
        failing(error)
    assert (str(raised.value), raised.value.code) == (f"cannot be run: {reason}", ProblemCode.BROKEN)
    assert raised.value.__cause__ is error


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), GeneratorExit(), DatasetError("row 3"), TeacherUnavailableError()]
)
def test_interrupts_and_errors_of_this_library_pass(error):
    with pytest.raises(type(error)) as raised:
        failing(error)
    assert raised.value is error


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory.")])
def test_too_little_memory_has_a_code_of_its_own(error):
    assert does_not_fit(error) and not does_not_fit(ValueError())
    with pytest.raises(TeacherUnavailableError) as raised:
        failing(error)
    assert raised.value.code is ProblemCode.TOO_LARGE


def test_what_must_not_be_published_is_hidden():
    with pytest.raises(TeacherUnavailableError, match="^cannot be run: no file in model$"):
        failing(OSError("no file in /home/me/model"), hide=lambda text: text.replace("/home/me/", ""))
