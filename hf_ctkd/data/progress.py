"""Progress bars of work on rows, silenced together with those of `datasets`."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import datasets
from tqdm.auto import tqdm

Item = TypeVar("Item")
_SHORT_SECONDS = 2.0


def row_bar(total: int | None, description: str, *, unit: str = "row") -> tqdm:
    """A bar with the rate and the time left, which appears where the work takes over two seconds.

    Args:
        total: number of rows; None where it is not known, which leaves the rate.
        description: of the work, in a word or two.
        unit: what is counted.
    """
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        leave=False,
        delay=_SHORT_SECONDS,
        disable=datasets.are_progress_bars_disabled(),
    )


def counted(items: Iterable[Item], total: int | None, description: str, *, unit: str) -> Iterator[Item]:
    """Items one by one, under a bar as `row_bar` makes it.

    Args:
        items: that take long to make or to use.
        total: their number; None where it is not known.
        description: of the work, in a word or two.
        unit: what an item is.
    """
    with row_bar(total, description, unit=unit) as bar:
        for item in items:
            yield item
            bar.update()


@contextmanager
def row_bars(visible: bool) -> Iterator[None]:
    """Run a block with or without these bars and those of `datasets`.

    Args:
        visible: whether they may be shown; where `datasets.disable_progress_bars()` was called, they are not.
    """
    if visible or datasets.are_progress_bars_disabled():
        yield
        return
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.enable_progress_bars()
