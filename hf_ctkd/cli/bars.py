"""Progress bars of a whole command: those of the rows, of `datasets`, of downloads and of transformers."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from transformers.utils import logging

from hf_ctkd.data.progress import row_bars


@contextmanager
def no_bars() -> Iterator[None]:
    """Run a command without progress bars; those that were switched off before stay off."""
    of_transformers, of_downloads = logging.is_progress_bar_enabled(), not are_progress_bars_disabled()
    with row_bars(False):
        logging.disable_progress_bar()  # those of downloads too
        try:
            yield
        finally:
            if of_transformers:
                logging.enable_progress_bar()  # those of downloads too
            if of_downloads:
                enable_progress_bars()
            else:
                disable_progress_bars()
