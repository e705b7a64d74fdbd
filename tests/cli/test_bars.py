import importlib

import datasets
import pytest
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars
from transformers.utils import logging

from hf_ctkd.cli.bars import no_bars


def shown() -> tuple[bool, bool, bool]:
    """Bars of transformers, of downloads and of rows."""
    downloads, rows = not are_progress_bars_disabled(), not datasets.are_progress_bars_disabled()
    return logging.is_progress_bar_enabled(), downloads, rows


@pytest.fixture(autouse=True)
def _all_shown(monkeypatch):
    # The tests have it in their environment; beside the module there is a class of the same name.
    module = importlib.import_module("huggingface_hub.utils.tqdm")
    monkeypatch.setattr(module, "HF_HUB_DISABLE_PROGRESS_BARS", None)
    before = logging.is_progress_bar_enabled(), are_progress_bars_disabled()
    logging.enable_progress_bar()
    yield
    if not before[0]:
        logging.disable_progress_bar()
    if before[1]:
        disable_progress_bars()


def test_no_bar_is_shown_and_all_come_back():
    with pytest.raises(KeyError, match="in between"), no_bars():
        assert shown() == (False, False, False)
        raise KeyError("in between")
    assert shown() == (True, True, True)


def test_bars_that_were_off_stay_off():
    disable_progress_bars()
    with no_bars():
        assert shown() == (False, False, False)
    assert shown() == (True, False, True)
    logging.disable_progress_bar()
    with no_bars():
        pass
    assert shown() == (False, False, True)
