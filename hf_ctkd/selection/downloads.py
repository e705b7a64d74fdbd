"""Downloads that run ahead of scoring: the files of the next candidate arrive while this one is scored."""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from hf_ctkd.errors import TeacherUnavailableError

Item = TypeVar("Item")


def fetched_ahead(
    items: Iterator[Item],
    fetch: Callable[[Item], None],
    after: Callable[[Item, Item | None], None] = lambda item, following: None,
) -> Generator[tuple[Item, TeacherUnavailableError | None], None, None]:
    """The items, each fetched in a thread while the one before is used, and never more than one ahead.

    Closed early, it does not wait for the download that it has begun.

    Args:
        items: read in the thread too, as a search asks the Hub for each.
        fetch: brings what an item needs.
        after: is called with each item after its use, and with the next, which is fetched by then; None after the last.

    Yields:
        An item, and why it cannot be fetched; None if it was.

    Raises:
        CTKDError: in place of an item, if `items` or `fetch` raised it and it is about more than this item.
    """

    def step() -> tuple[Item, TeacherUnavailableError | None] | None:
        for item in items:
            try:
                fetch(item)
            except TeacherUnavailableError as problem:
                return item, problem
            return item, None
        return None

    thread = ThreadPoolExecutor(1, "downloads")
    try:
        upcoming = thread.submit(step).result()
        while upcoming is not None:
            item, problem = upcoming
            running = thread.submit(step)
            yield item, problem
            upcoming = running.result()
            after(item, None if upcoming is None else upcoming[0])
    finally:
        thread.shutdown(wait=False, cancel_futures=True)
