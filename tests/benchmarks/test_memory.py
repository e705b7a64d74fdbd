import pytest

from benchmarks import memory
from benchmarks.results_file import put


@pytest.fixture
def measurements():
    return [
        memory.Measurement(1000, 43_000_000, 470.0, 550.0, 1.0, 0.5),
        memory.Measurement(50_000, 2, 480.0, 594.0, 25.0, 10.0),
    ]


def test_outputs_of_the_stand_in_are_stored_and_read():
    measured = memory.measure(70)
    row_bytes = 16 + 2 * memory.WIDTH * (memory.LAYERS + 1)
    assert measured.stored_bytes == pytest.approx(70 * row_bytes, rel=0.01)  # and a header
    assert 0 < measured.start <= measured.peak


def test_rows_all_differ():
    assert len(set(memory.synthetic_rows(5000).digests)) == 5000


def test_the_table_names_the_growth(measurements):
    table = memory.table(measurements)
    assert "| 50,000 | 0 | 480 | 594 | +8.0% | 2,000 | 5,000 |" in table
    assert "From 1,000 to 50,000 rows the peak grows by 8.0%; the goal, less than 10%, is met. Texts" in table


def test_the_section_is_put_in_its_place(measurements, tmp_path):
    path = tmp_path / "RESULTS.md"
    path.write_text("# Results\n")
    put(memory.table(measurements), memory.BEGIN, memory.END, path)
    put(memory.table(measurements[:1]), memory.BEGIN, memory.END, path)
    text = path.read_text()
    assert text.startswith("# Results\n\n<!-- memory:begin -->")
    assert text.count(memory.BEGIN) == 1
    assert "50,000 |" not in text


def test_the_rate_is_that_of_the_medians():
    section = memory.rate_section([10.0, 12.0, 11.0], [9.0, 8.0, 30.0])
    assert "| 11.0 | 9.0 | 0.82 |" in section and "**met**" in section
    assert "**missed**" in memory.rate_section([10.0], [7.0])
