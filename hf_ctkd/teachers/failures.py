"""Whatever a model does while it is loaded or run, it becomes a reason to skip this model."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from accelerate.utils.memory import should_reduce_batch_size

from hf_ctkd.errors import CTKDError, ProblemCode, TeacherUnavailableError


@contextmanager
def skipped_on_failure(action: str, code: ProblemCode, hide: Callable[[str], str] = str) -> Iterator[None]:
    """Turn any exception of a model into a `TeacherUnavailableError`.

    Use it around calls into a model's files and code, and around nothing else. No list of classes would do: code that a
    repository brings along raises classes of its own or leaves by `sys.exit`, tokenizers raises plain `Exception` and
    panics that derive from `BaseException` alone, and an unpickler raises whatever a pickle asks for.

    Args:
        action: what could not be done, such as `"cannot be loaded"`.
        code: of the problem; memory that does not suffice has its own.
        hide: removes from a message what must not be published.

    Raises:
        TeacherUnavailableError: for any exception but an interrupt and those of this library.
    """
    try:
        yield
    except (CTKDError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        if does_not_fit(error):
            code = ProblemCode.TOO_LARGE
        raise TeacherUnavailableError(f"{action}: {_reason(error, hide)}", code) from error


def does_not_fit(error: BaseException) -> bool:
    """Whether an exception says that the memory did not suffice.

    Args:
        error: of loading or running a model.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, Exception) and should_reduce_batch_size(error)


def _reason(error: BaseException, hide: Callable[[str], str]) -> str:
    text = hide(" ".join(str(error).split()))[:300]
    return f"{type(error).__name__} {text}".rstrip() if isinstance(error, KeyError | SystemExit) or not text else text
