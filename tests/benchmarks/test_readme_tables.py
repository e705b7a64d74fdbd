"""README's table of metrics says what the classes say."""

import pytest

from benchmarks.readme_tables import BEGIN, END, README, filled, metric_table
from hf_ctkd import metrics


def test_the_block_in_the_readme_is_current():
    text = README.read_text()
    assert filled(text) == text, "Run `python -m benchmarks.readme_tables`."


def test_every_metric_has_a_row_and_stale_rows_go():
    table = metric_table()
    assert all(f"| `{name}` |" in table for name in metrics.__all__ if name != "TransferabilityMetric")
    assert filled(f"a\n{BEGIN}\nstale\n{END}\nb\n") == f"a\n{BEGIN}\n{table}\n{END}\nb\n"


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_marks_must_be_there_once(text):
    with pytest.raises(ValueError, match="once each"):
        filled(text)
