import pytest
from tiny_suite import row, runs_with, scores_with

from benchmarks.evidence.__main__ import report
from benchmarks.evidence.analysis import load_runs, load_scores, split
from benchmarks.evidence.figures import draw
from benchmarks.evidence.grid import BALANCED, CELLS, DEFAULT, DETAILED, IMBALANCED, METHODS, PLAIN
from benchmarks.evidence.report import BEGIN, END, comparable, longer_table, methods_table, section
from benchmarks.evidence.scores import METRICS
from benchmarks.evidence.store import RUNS, SCORES, Store

pytestmark = pytest.mark.usefixtures("few_resamples")


def _tables(gain=0.1):
    runs = load_runs(runs_with(CELLS, gain))
    values = {"handwriting": 0.9, "arrows": 0.1, "font-digits": 0.4}
    scores = load_scores([one for metric in METRICS for one in scores_with(BALANCED, values, metric)])
    return runs, scores


def test_the_report_says_every_goal_cell_method_and_failure():
    runs, scores = _tables()
    failed = [row(IMBALANCED, "label map", 0, 0, teacher="arrows", error="RuntimeError: no memory")]
    text = section(runs, scores, failed, runs[:0])
    assert text.startswith(BEGIN) and text.rstrip().endswith(END)
    assert text.count("reached |") >= 5 and "1 failed" in text and "RuntimeError: no memory" in text
    for name in (*map(str, CELLS), *METHODS, *METRICS, "handwriting-parity", "which-library"):
        assert name in text, name
    assert "+10.0 (+10.0 to +10.0)" in text
    assert "/root" not in text and "/work" not in text


def test_methods_are_compared_on_the_same_teachers_of_other_tasks():
    part = comparable(_tables()[0])
    assert set(part["cell"]) == set(map(str, DETAILED))
    taught = part[part["teacher"] != ""]
    for cell in set(part["cell"]):
        assert "handwriting" not in set(taught["teacher"])
        per_method = taught[taught["cell"] == cell].groupby("method")["teacher"].agg(set)
        assert per_method["probe"] <= per_method["default"]
    assert "| probe |" in methods_table(_tables()[0])


def test_students_at_three_times_the_steps_have_a_table_of_their_own():
    rows = runs_with((BALANCED,), 0.1)
    rows += [row(BALANCED, PLAIN, seed, 0.7, times=3) for seed in range(4)]
    rows += [row(BALANCED, DEFAULT, seed, 0.75, teacher="arrows", times=3) for seed in range(2)]
    usual, longer = split(load_runs(rows))
    text = longer_table(usual, longer)
    assert "| plain | 1 x 3 | 51.0 | 70.0 |  |  |" in text
    assert "| default | 1 x 2 | 60.5 | 75.0 | +10.0 (+10.0 to +10.0) | +5.0 (+5.0 to +5.0) |" in text
    assert "image rows: 300." in section(usual, load_scores([]), [], longer)
    assert methods_table(usual) == methods_table(split(load_runs(runs_with((BALANCED,), 0.1)))[0])


def test_figures_are_drawn(tmp_path):
    draw(*_tables(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "evidence_methods.png",
        "evidence_teachers.png",
        "evidence_scores.png",
    }


def test_a_report_leaves_other_sections_alone_and_replaces_its_own(tmp_path):
    store = Store(tmp_path / "results", "runs", RUNS)
    for one in runs_with((BALANCED,), 0.1):
        store.add(one["key"], [one])
    target = tmp_path / "RESULTS.md"
    target.write_text("# Results\n\n<!-- ot:begin -->\nmine\n<!-- ot:end -->\n")
    report(tmp_path / "results", target)
    first = target.read_text()
    assert "<!-- ot:begin -->\nmine\n<!-- ot:end -->" in first and "### Goals" in first
    report(tmp_path / "results", target)
    assert target.read_text() == first
    assert (tmp_path / "results" / "losses.json").is_file()
    assert not Store(tmp_path / "results", "scores", SCORES).rows()
