"""README's table of metrics says what the classes say."""

import pytest

from benchmarks.readme_tables import BEGIN, END, README, filled, metric_table, reference
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


def test_a_reference_is_one_line_of_authors_year_and_number():
    fields = [
        "title = {{LEEP}}",
        "author = {P{\\'a}ndy, A. and Li, B. and\n    Wu, C.}",
        "year = {2022}",
        "eprint = {1.2}",
    ]
    entry = "@misc{a,\n  " + ",\n  ".join(fields) + "\n}"
    assert reference(entry) == "Pándy et al., 2022, arXiv:1.2"
    two = "@book{b,\n  author = {Li, B. and Wu, C.},\n  year = {2020}\n}"
    assert reference(f"{two}\nReconstructed.") == "Li and Wu, 2020. Reconstructed."


def test_every_row_is_one_line():
    assert all(line.startswith("| ") and line.endswith(" |") for line in metric_table().splitlines()[2:])
