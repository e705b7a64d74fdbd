import datasets
import pytest

from hf_ctkd.data.progress import counted, row_bar, row_bars


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr("hf_ctkd.data.progress._SHORT_SECONDS", 0.0)


def read_rows() -> None:
    with row_bar(4, "reading") as bar:
        bar.update(4)


def test_a_bar_tells_rate_and_time_left_unless_silenced(capfd):
    with row_bars(visible=True):
        read_rows()
    err = capfd.readouterr().err
    assert "reading: " in err and "/4 [00:00<" in err and "row/s]" in err
    with row_bars(visible=False):
        read_rows()
    assert capfd.readouterr().err == ""
    assert not datasets.are_progress_bars_disabled()


def test_bars_that_were_switched_off_before_stay_off(capfd):
    datasets.disable_progress_bars()
    try:
        with row_bars(visible=True):
            read_rows()
        with row_bars(visible=False):
            pass
        assert datasets.are_progress_bars_disabled()
    finally:
        datasets.enable_progress_bars()
    assert capfd.readouterr().err == ""


def test_items_are_counted_under_a_bar(capfd):
    assert list(counted("abc", 3, "letters", unit="letter")) == ["a", "b", "c"]
    err = capfd.readouterr().err
    assert "letters: " in err and "/3 [00:00<" in err and "letter/s]" in err


def test_short_work_shows_none(capfd, monkeypatch):
    monkeypatch.setattr("hf_ctkd.data.progress._SHORT_SECONDS", 60.0)
    read_rows()
    assert capfd.readouterr().err == ""
