import numpy as np
import pytest

from benchmarks.evidence import __main__ as command
from benchmarks.evidence import pretrained_report
from benchmarks.evidence.grid import DEFAULT, PLAIN
from benchmarks.evidence.pretrained_cell import ARMS, CONTROL, LABELS, packed
from benchmarks.evidence.pretrained_report import BEGIN, END, gain, labels_table, load, longer_table, section, write

pytestmark = pytest.mark.usefixtures("few_resamples")


def row(arm, labels, seed, accuracy, times=1, **changes):
    """A run that gets the first of 200 test rows right."""
    correct = packed(np.arange(200) < round(accuracy * 200))
    known = {"arm": arm, "labels": labels, "seed": seed, "times": times, "accuracy": accuracy, "test_rows": 200}
    return {
        name: str(value) for name, value in {**known, "correct": correct, "seconds": 9, "error": "", **changes}.items()
    }


def rows(gained):
    """Every arm gains over a plain student of 0.5 at all labels; at three times the steps, half of that."""
    gains = {**dict.fromkeys(ARMS, 0.02), PLAIN: 0.0, DEFAULT: gained}
    made = [row(arm, labels, seed, 0.5 + gains[arm]) for arm in ARMS for labels in LABELS for seed in range(3)]
    return [*made, *(row(arm, LABELS[0], 0, 0.6 + gains[arm] / 2, times=3) for arm in ARMS)]


@pytest.fixture
def section_of(monkeypatch):
    def make(made):
        monkeypatch.setattr(pretrained_report, "rows_of", lambda cell: made)
        monkeypatch.setattr(pretrained_report, "rates_of", lambda cell: dict.fromkeys(ARMS, 3e-4))
        return section(None)

    return make


def test_gains_are_paired_by_seed_and_row():
    frame = load(rows(0.06))
    change = gain(frame, DEFAULT, CONTROL, LABELS[0])
    assert change.value == pytest.approx(4.0) and change.low <= change.value <= change.high and change.pairs == 3
    assert gain(frame, DEFAULT, PLAIN, LABELS[0], 3).value == pytest.approx(3.0)
    assert gain(frame, DEFAULT, "nobody", LABELS[0]).pairs == gain(load([]), DEFAULT, PLAIN, LABELS[0]).pairs == 0


def test_tables_leave_empty_what_was_not_run():
    frame = load([row(PLAIN, LABELS[0], 0, 0.5), row(DEFAULT, LABELS[0], 0, 0.6), row(DEFAULT, LABELS[0], 1, 0.6)])
    assert f"| {PLAIN} | 50.0 (1) |  |  |  |  |  |" in labels_table(frame)
    assert f"| {DEFAULT} | 60.0 (2) | +10.0" in labels_table(frame)
    assert longer_table(frame).count("\n") == longer_table(load([])).count("\n") == 1
    longer = longer_table(load([*rows(0.06)]))
    assert "| default | 56.0 | 63.0 | +6.0" in longer and "| plain | 50.0 | 60.0 |  |  |" in longer


def test_section_judges_the_goals_and_is_renewed_between_its_markers(section_of, tmp_path):
    target = tmp_path / "RESULTS.md"
    target.write_text("# Results\n\nothers\n")
    failed = row(DEFAULT, LABELS[0], 9, 0.0, error="RuntimeError: no memory")
    write(section_of([*rows(0.06), failed]), target)
    text = target.read_text()
    assert text.startswith("# Results\n\nothers\n") and text.count(BEGIN) == text.count(END) == 1
    assert text.count("| reached |") == 3 and "50 runs, 1 failed" in text and "default 0.0003" in text
    assert "- failed: default, 100 labels, seed 9: RuntimeError: no memory" in text
    write(section_of(rows(-0.01)), target)
    text = target.read_text()
    assert text.count(BEGIN) == 1 and text.count("| **missed** |") == 3
    assert section_of([]).count("| not run yet |") == 3


def test_without_its_package_the_cell_is_left_out_aloud(monkeypatch, capsys):
    monkeypatch.setattr(command, "pretrained_zoo", lambda place: None)
    command.main(["pretrained", "--minutes", "1"])
    assert "left out" in capsys.readouterr().out
