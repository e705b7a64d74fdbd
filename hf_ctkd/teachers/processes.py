"""Work that several processes share, where an error on one of them must reach all: the others would wait for ever."""

from collections.abc import Callable
from typing import TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from hf_ctkd.errors import CTKDError

Result = TypeVar("Result")


def on_main(accelerator: Accelerator, work: Callable[[], Result]) -> Result:
    """Do something on the main process only and hand what came out of it to every process.

    Use it for anything that reads or writes files; not for work that itself waits for the other processes.

    Args:
        accelerator: the processes.
        work: what to do; its result must be picklable.

    Raises:
        CTKDError: what `work` raised, on every process.
    """
    outcome: list[tuple[Result | None, CTKDError | None]] = [(None, None)]
    if accelerator.is_main_process:
        outcome = [_attempt(work)]
    broadcast_object_list(outcome)
    result, error = outcome[0]
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


def on_all(accelerator: Accelerator, work: Callable[[], Result]) -> list[Result]:
    """Do something on every process and hand all results, in the order of the processes, to each of them.

    Args:
        accelerator: the processes.
        work: what to do; its result must be picklable.

    Raises:
        CTKDError: the first that any process raised, on every process.
    """
    outcomes = [_attempt(work)]
    if accelerator.num_processes > 1:
        outcomes = gather_object(outcomes)
    for _, error in outcomes:
        if error is not None:
            raise error
    return [result for result, _ in outcomes]


def _attempt(work: Callable[[], Result]) -> tuple[Result | None, CTKDError | None]:
    try:
        return work(), None
    except CTKDError as error:
        return None, error
