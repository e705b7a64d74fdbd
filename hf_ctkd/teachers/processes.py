"""Work shared by several processes: an error on one of them reaches all, or the others would wait for ever."""

from collections.abc import Callable
from typing import TypeVar

from accelerate import Accelerator
from accelerate.utils import gather_object

from hf_ctkd.errors import CTKDError

Result = TypeVar("Result")


class LocalAccelerator(Accelerator):
    """The calling process alone, on its device, where `accelerate launch` started others with work of their own."""

    @property
    def num_processes(self) -> int:
        """One."""
        return 1

    @property
    def process_index(self) -> int:
        """The first."""
        return 0

    @property
    def is_main_process(self) -> bool:
        """Always."""
        return True


def on_main(accelerator: Accelerator, work: Callable[[], Result]) -> Result:
    """Run a function on the main process only and return its result on every process.

    Use it for anything that reads or writes files; not for work that itself waits for the other processes.

    Args:
        accelerator: the processes.
        work: the function; its result must be picklable.

    Raises:
        CTKDError: the error that `work` raised, on every process.

    Example:
        >>> on_main(Accelerator(), lambda: 3)
        3
    """
    (result,) = _shared(accelerator, [_attempt(work)] if accelerator.is_main_process else [])
    return result


def on_all(accelerator: Accelerator, work: Callable[[], Result]) -> list[Result]:
    """Run a function on every process and return all results, in the order of the processes, on each of them.

    Args:
        accelerator: the processes.
        work: the function; its result must be picklable.

    Raises:
        CTKDError: the first error that any process raised, on every process.

    Example:
        >>> on_all(Accelerator(), lambda: 3)
        [3]
    """
    return _shared(accelerator, [_attempt(work)])


def _attempt(work: Callable[[], Result]) -> Result | CTKDError:
    try:
        return work()
    except CTKDError as error:
        return error


def _shared(accelerator: Accelerator, outcomes: list[Result | CTKDError]) -> list[Result]:
    """The outcomes of all processes in their order, on each of them; the first error is raised on each."""
    if accelerator.num_processes > 1:
        outcomes = gather_object(outcomes)
    results = []
    for outcome in outcomes:
        if isinstance(outcome, CTKDError):
            raise outcome
        results.append(outcome)
    return results
