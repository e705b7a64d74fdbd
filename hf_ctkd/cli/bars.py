"""Progress bars of a whole command: those of the rows, of `datasets` and of downloads."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from hf_ctkd.data.progress import row_bars


@contextmanager
def no_bars() -> Iterator[None]:
    """Run a command without progress bars; those that were switched off before stay off."""
    with row_bars(False):
        if are_progress_bars_disabled():
            yield
            return
        disable_progress_bars()
        try:
            yield
        finally:
            enable_progress_bars()
