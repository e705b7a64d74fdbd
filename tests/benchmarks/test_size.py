import pytest

from benchmarks import size
from benchmarks.results_file import put


@pytest.mark.parametrize("case", size.CASES)
def test_a_case_is_measured(case):
    measured = size.measure(case, 400)
    assert (measured.case, measured.rows) == (case, 400)
    assert 0 < measured.start <= measured.peak and measured.seconds > 0


def test_the_table_names_the_growth_and_what_has_not_run(tmp_path):
    lines = [size.Measurement("rank", rows, 400.0, 500.0 + rows / 1e4, 1.0) for rows in (10_000, 100_000)]
    section = size.table(lines)
    assert "| rank | 10,000 | 1.0 | 400 | 501 |  |" in section
    assert "| rank | 100,000 | 1.0 | 400 | 510 | 0.10 |" in section and "Not run yet: 1,000,000 rows." in section
    path = tmp_path / "RESULTS.md"
    path.write_text("# Results\n")
    put(section, size.BEGIN, size.END, path)
    put(size.table(lines[:1]), size.BEGIN, size.END, path)
    assert path.read_text().count(size.BEGIN) == 1 and "| 100,000 |" not in path.read_text()
