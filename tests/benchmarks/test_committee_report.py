import pandas
import pytest

from benchmarks.evidence.committee import ARMS, CELLS, COLUMNS, COMMITTEE, LOG_MEAN, REFERENCE, SINGLE
from benchmarks.evidence.committee_report import BEGIN, END, difference, goals, load, recovery, section, slowdown, write
from benchmarks.evidence.grid import PLAIN

pytestmark = pytest.mark.usefixtures("few_resamples")


def row(cell, method, seed, accuracy, **changes):
    known = {
        "key": f"{cell} {method} {seed}", "task": cell.task, "labels": cell.labels, "modality": cell.modality,
        "method": method, "teachers": "a + b + c", "seed": seed, "accuracy": accuracy, "skipped": 0.0, "error": "",
        **changes,
    }  # fmt: skip
    return {name: str(known.get(name, "")) for name in COLUMNS}


def rows(**gains):
    """Every arm gains 0.1 over a plain student of 0.5, the reference reaches 0.7; single arms may be given a gain."""
    named = {name.replace("_", " "): gain for name, gain in gains.items()}
    found = []
    for number, cell in enumerate(CELLS):
        for seed in range(3):
            base = 0.5 + 0.01 * number + 0.02 * seed
            found += [row(cell, PLAIN, seed, base), row(cell, REFERENCE, seed, base + 0.2)]
            for method in ARMS:
                skipped = 1 / 3 if method == "committee, two of three asked" else 0.1 if "threshold" in method else 0.0
                found.append(row(cell, method, seed, base + named.get(method, 0.1), skipped=skipped))
    return found


def speeds(ratio):
    times = {PLAIN: 10.0, COMMITTEE: 10.0 * ratio, LOG_MEAN: 11.0}
    sizes = {"the suite's": 20_000, "small": 1_000_000}
    arms = [(kind, size, method) for kind in ("image", "text") for size in sizes for method in times for _ in range(3)]
    frame = pandas.DataFrame(arms, columns=["modality", "student", "method"])
    return frame.assign(parameters=frame["student"].map(sizes), milliseconds=frame["method"].map(times))


def test_differences_and_recovery_are_paired():
    frame = load(rows(committee=0.15))
    assert difference(frame, COMMITTEE, SINGLE).value == pytest.approx(5.0)
    assert difference(frame, COMMITTEE, SINGLE).low == pytest.approx(5.0), "what differs between cells is no noise here"
    found = recovery(frame, COMMITTEE)
    assert (found.value, found.low, found.high) == pytest.approx((75.0, 75.0, 75.0))
    assert (found.cells, found.pairs) == (5, 15)
    assert recovery(frame, REFERENCE).value == pytest.approx(100.0)
    assert recovery(frame[frame["method"] != REFERENCE], COMMITTEE).pairs == 0


def test_goals_are_judged_by_the_runs():
    reached = {one.text: one.reached for one in goals(load(rows(committee=0.15)), speeds(1.2))}
    assert [one for one, ok in reached.items() if not ok] == [
        "30% fewer passes of teachers at no loss beyond the interval: committee, two of three asked",
        "30% fewer passes of teachers at no loss beyond the interval: committee, threshold 0.25",
        "Adding poor teachers does no harm beyond the interval",
    ], "others gain less than the committee by the same number of points everywhere"
    poor = {one.text: one.reached for one in goals(load(rows(committee=0.05)), speeds(1.3))}
    assert [one for one, ok in poor.items() if ok] == [
        "30% fewer passes of teachers at no loss beyond the interval: committee, two of three asked",
        "Adding poor teachers does no harm beyond the interval",
    ]
    assert slowdown(speeds(1.3)) == pytest.approx(1.3)


def test_section_is_written_between_its_marks_and_renewed(tmp_path):
    target = tmp_path / "RESULTS.md"
    target.write_text("# Results\n\nothers\n")
    failed = row(CELLS[0], COMMITTEE, 9, "", error="ValueError: no")
    write(section([*rows(committee=0.15), failed], speeds(1.2)), target)
    first = target.read_text()
    assert first.startswith("# Results\n\nothers\n") and first.count(BEGIN) == first.count(END) == 1
    assert f"| {COMMITTEE} | 5 x 3 | +15.0 (+15.0 to +15.0) | 75 % (75 to 75) |  | +5.0 (+5.0 to +5.0) |  |" in first
    assert "- failed: digits @ 50, committee, seed 9: ValueError: no" in first
    assert "**missed**" in first and "a + b + c" in first and "| text | small | committee | 12.0 | 1.20 |" in first
    write(section(rows(committee=0.05), speeds(1.2)), target)
    assert target.read_text().startswith("# Results\n\nothers\n") and target.read_text().count(BEGIN) == 1
    assert f"| {COMMITTEE} | 5 x 3 | +5.0 (+5.0 to +5.0) |" in target.read_text()


def test_section_of_few_runs(tmp_path):
    few = [row(CELLS[0], PLAIN, 0, 0.5), row(CELLS[0], COMMITTEE, 0, 0.6)]
    text = section(few, speeds(1.0)[:0])
    assert "committee, threshold 0.25 |  | not run yet |" in text and "nan % fewer" not in text
    assert "| committee | 1 x 1 | +10.0 (+10.0 to +10.0) |" in section(few, speeds(1.0)[:0])
