"""A bound on how long one model may make a run wait: huggingface_hub sleeps as long as the answer asks, five times."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from huggingface_hub import get_session
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import hf_raise_for_status

from hf_ctkd.hub.problems import seconds_to_wait

Item = TypeVar("Item")

_EVENT = "response"
_changing_hooks = threading.Lock()


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
