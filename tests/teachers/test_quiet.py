import pytest
from transformers.utils import logging

from hf_ctkd.teachers.quiet import quiet_loading


# Of the Hub client, whose bars the environment of the tests switches off for good.
@pytest.mark.filterwarnings("ignore:Cannot enable progress bars:UserWarning")
@pytest.mark.parametrize("bars", [True, False])
def test_what_the_caller_had_set_comes_back_even_after_an_error(bars):
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    (logging.enable_progress_bar if bars else logging.disable_progress_bar)()
    logging.set_verbosity_info()
    try:
        with pytest.raises(OSError), quiet_loading():
            assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (logging.CRITICAL, False)
            raise OSError
        assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (logging.INFO, bars)
    finally:
        logging.set_verbosity(before[0])
        (logging.enable_progress_bar if before[1] else logging.disable_progress_bar)()
