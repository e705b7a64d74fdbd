import pytest

from benchmarks import size
from benchmarks.results_file import put


@pytest.mark.parametrize("case", size.CASES)
def test_a_case_is_measured(case):
    problem = size.Size(400, classes=4, teachers=2)
    measured = size.measure(case, problem)
    assert (measured.case, measured.size) == (case, problem)
    assert 0 < measured.start <= measured.peak and measured.seconds > 0


def test_the_table_names_the_growth_and_what_has_not_run(tmp_path):
    lines = [size.Measurement("rank", size.Size(rows), 400.0, 500.0 + rows / 1e4, 1.0) for rows in (10_000, 100_000)]
    section = size.table(lines)
    assert "| rank | 10,000 | 2 | 1 | 1.0 | 400 | 501 |  |" in section
    assert "| rank | 100,000 | 2 | 1 | 1.0 | 400 | 510 | 0.10 |" in section
    assert "Not run yet: 1,000,000 rows." in section
    path = tmp_path / "RESULTS.md"
    path.write_text("# Results\n")
    put(section, size.BEGIN, size.END, path)
    put(size.table(lines[:1]), size.BEGIN, size.END, path)
    assert path.read_text().count(size.BEGIN) == 1 and "| 100,000 |" not in path.read_text()


def test_each_curve_varies_one_number(tmp_path):
    sweeps = size.sweeps((10, 100))
    assert {name: len(sizes) for name, sizes in sweeps.items()} == {"rows": 2, "classes": 3, "teachers": 3}
    assert all(sizes[0] == size.Size(10) for sizes in sweeps.values())
    lines = [size.Measurement(case, each, 4.0, 5.0, 1.0) for case in size.CASES for each in sweeps["classes"]]
    size.draw(lines, (10, 100), tmp_path / "size.png")
    assert (tmp_path / "size.png").stat().st_size > 5000
