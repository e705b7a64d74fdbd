"""How long one model may make a run wait: huggingface_hub sleeps as long as an answer asks, or does not ask again."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, TypeVar

from huggingface_hub import get_session
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import hf_raise_for_status

from hf_ctkd.hub.problems import seconds_to_wait

Item = TypeVar("Item")
Answer = TypeVar("Answer")

ATTEMPTS = 3
REPEATS_LISTINGS = tuple(int(part) for part in version("huggingface_hub").split(".")[:2]) >= (2, 1)
"""Whether huggingface_hub itself asks again where the Hub refuses to list; older versions give up at once."""
_EVENT = "response"
_changing_hooks = threading.Lock()


def ask_again(ask: Callable[[], Answer], attempts: int = ATTEMPTS) -> Answer:
    """The Hub's answer to a request that huggingface_hub does not repeat, asked for again after the wait it names.

    Args:
        ask: makes the request.
        attempts: how often, in all.

    Raises:
        HfHubHTTPError: the last refusal, or one that no wait of up to a minute helps.
    """
    for attempt in range(attempts - 1):
        try:
            return ask()
        except HfHubHTTPError as error:
            wait = seconds_to_wait(error, attempt)
            if wait is None:
                raise
            time.sleep(wait)
    return ask()


def ask_again_for_list(ask: Callable[[], Iterable[Item]]) -> list[Item]:
    """All items of a list of the Hub, which older versions of huggingface_hub ask for only once.

    Args:
        ask: starts the listing anew.

    Raises:
        HfHubHTTPError: as `ask_again`.
    """
    return ask_again(lambda: list(ask()), 1 if REPEATS_LISTINGS else ATTEMPTS)


@contextmanager
def bounded_waits() -> Iterator[None]:
    """Have a request fail at once if its answer asks to wait for longer than a minute; shorter waits are kept.

    huggingface_hub reads `Retry-After` without an upper bound: an hour in one answer would stop the run for five. Its
    client is shared by all threads of a process, so that their requests have the bound meanwhile too.

    Raises:
        HfHubHTTPError: in the block, as for any refusal of the Hub.
    """
    client = get_session()
    with _changing_hooks:
        client.event_hooks = {**client.event_hooks, _EVENT: [*client.event_hooks.get(_EVENT, []), _refuse_long_waits]}
    try:
        yield
    finally:
        with _changing_hooks:
            hooks = list(client.event_hooks[_EVENT])
            hooks.remove(_refuse_long_waits)  # one of them: a thread may be in another block
            client.event_hooks = {**client.event_hooks, _EVENT: hooks}


def each_with_bounded_waits(items: Iterable[Item]) -> Iterator[Item]:
    """The items of a search of the Hub, whose pages are asked for one after the other, each under `bounded_waits`.

    The bound is off while an item is used, so that a search that is given up leaves none behind.

    Args:
        items: what huggingface_hub lists, read one by one.

    Raises:
        HfHubHTTPError: as `bounded_waits`.
    """
    remaining = iter(items)
    while True:
        with bounded_waits():
            try:
                item = next(remaining)
            except StopIteration:
                return
        yield item


def _refuse_long_waits(response: Any) -> None:  # noqa: ANN401 (of whichever HTTP library huggingface_hub is built on)
    if response.status_code not in (429, 503):
        return
    try:
        hf_raise_for_status(response)
    except HfHubHTTPError as error:
        if seconds_to_wait(error, attempt=0) is None:
            raise
