"""Downloads that run ahead of scoring: the files of the next candidate arrive while this one is scored."""

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from threading import Lock
from typing import TypeVar

from hf_ctkd.errors import TeacherUnavailableError

Item = TypeVar("Item")

PATIENCE = 2.0
"""Seconds that a download may keep its user waiting before another one begins beside it."""
MOST = 4
"""Downloads at once."""


def fetched_ahead(
    items: Iterator[Item],
    fetch: Callable[[Item], None],
    after: Callable[[Item, Sequence[Item]], None] = lambda item, others: None,
    *,
    most: int = MOST,
) -> Generator[tuple[Item, TeacherUnavailableError | None], None, None]:
    """The items, each fetched in a thread while the one before is used.

    That is one ahead. While a download keeps its user waiting, as that of a server which has stalled, others begin
    beside it, and whichever arrives first comes first. Closed early, it does not wait for downloads that it has begun.

    Args:
        items: read in the threads too, as a search asks the Hub for each.
        fetch: brings what an item needs.
        after: is called with each item after its use, and with those whose download has begun; none begins meanwhile.
        most: downloads at once; 1 keeps the order of the items.

    Yields:
        An item, and why it cannot be fetched; None if it was.

    Raises:
        CTKDError: in place of an item, if `items` or `fetch` raised it and it is about more than this item.
    """
    begun: list[Item] = []
    turn = Lock()

    def step() -> tuple[Item, TeacherUnavailableError | None] | None:
        with turn:
            following = list(islice(items, 1))
            begun.extend(following)
        for item in following:
            try:
                fetch(item)
            except TeacherUnavailableError as problem:
                return item, problem
            return item, None
        return None

    threads = ThreadPoolExecutor(most, "downloads")
    running = [threads.submit(step)]
    try:
        while running:
            arrived = _arrived(running, PATIENCE if len(running) < most else None)
            if arrived is None:
                running.append(threads.submit(step))
                continue
            running.remove(arrived)
            fetched = arrived.result()
            if fetched is None:
                continue
            if len(running) < most:
                running.append(threads.submit(step))
            begun.remove(fetched[0])
            yield fetched
            with turn:
                after(fetched[0], tuple(begun))
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def _arrived(running: Sequence[Future], seconds: float | None) -> Future | None:
    """The first to be done, of several that which began first; None if none is done in time."""
    done, _ = wait(running, seconds, FIRST_COMPLETED)
    return next((future for future in running if future in done), None)
