from pathlib import Path

import numpy as np
import pandas
import pytest

from benchmarks.evidence import expected_gain
from benchmarks.evidence.analysis import load_runs, load_scores, split
from benchmarks.evidence.expected_gain import GAPS, fit, measure_baselines, outcomes, section, unseen_table
from benchmarks.evidence.pretrained_cell import CONTROL, GAP
from benchmarks.evidence.store import RUNS, SCORES, Store
from hf_ctkd.records.expected_gain import HALF_WIDTH, INTERCEPT, LARGEST_GAP, SLOPE

RESULTS = Path(expected_gain.__file__).parent / "results"


@pytest.fixture
def frame():
    gaps = np.tile(np.linspace(0.0, 0.5, 6), 3)
    tasks = np.repeat(["a", "b", "c"], 6)
    return pandas.DataFrame({"task": tasks, "gap": gaps, "points": 2.0 + 40.0 * gaps, "gain": np.arange(18) % 5})


def test_the_line_is_judged_on_tasks_that_it_has_not_seen(frame):
    line = fit(frame)
    assert (line.slope, line.intercept, line.pairs, line.tasks) == (pytest.approx(40), pytest.approx(2), 18, 3)
    assert line.error == pytest.approx(0, abs=1e-9) and line.half_width == pytest.approx(0, abs=1e-9)
    assert line.error_of_mean == pytest.approx(frame["points"].std(ddof=0))
    shifted = frame.assign(points=frame["points"] + 9.0 * (frame["task"] == "c"))
    assert fit(shifted).error > 3, "the task that differs was predicted from the others"
    assert "points = 2.0 + 40.0 x gap, from 18 outcomes on 3 tasks with gaps of up to 0.50" in section(frame, "")


def test_the_library_has_the_line_of_the_committed_tables():
    runs, _ = split(load_runs(Store(RESULTS, "runs", RUNS).rows()))
    baselines = pandas.DataFrame(Store(RESULTS, "baselines", expected_gain.BASELINES).rows())
    baselines = baselines.astype({"seed": int, "rows": int, "labelled": int, "value": float})
    line = fit(outcomes(runs, load_scores(Store(RESULTS, "scores", SCORES).rows()), baselines))
    assert (round(line.slope, 1), round(line.intercept, 1), round(line.half_width, 1)) == (SLOPE, INTERCEPT, HALF_WIDTH)
    assert round(line.largest_gap, 2) == LARGEST_GAP


def test_baselines_are_measured_once(tmp_path, monkeypatch):
    runs = pandas.DataFrame({"task": ["t", "t"], "labels": ["8", "8"], "seed": [0, 0], "method": ["default"] * 2})
    asked = []
    row = {"task": "t", "labels": 8, "seed": 0, "rows": 40, "labelled": 8, "value": 0.25}
    monkeypatch.setattr(expected_gain, "_baseline", lambda *cell: asked.append(cell) or row)
    for _ in range(2):
        baselines = measure_baselines(tmp_path, runs)
    assert asked == [("t", 8, 0)]
    assert baselines[["rows", "labelled", "value"]].to_numpy().tolist() == [[40.0, 8.0, 0.25]]
    scores = pandas.DataFrame(
        {"task": ["t"], "labels": ["8"], "seed": [0], "teacher": ["x"], "metric": ["information_gain"], "value": [0.75]}
    )
    runs = pandas.DataFrame(
        {
            "task": "t", "labels": "8", "seed": 0, "method": ["default", expected_gain.WITHOUT_TEACHER],
            "teacher": ["x", ""], "accuracy": [70.0, 64.0], "gain": [9.0, 3.0],
        }
    )  # fmt: skip
    outcome = outcomes(runs, scores, baselines)
    assert outcome[["gap", "points", "gain"]].to_numpy().tolist() == [[pytest.approx(0.5 * 0.8), 6.0, 9.0]]


def test_pretrained_students_check_the_line():
    gaps = pandas.DataFrame([["k", GAP.name, seed, 0.5, 0.4, 1000, 200] for seed in (0, 1)], columns=GAPS)
    arms = (("default", 0.52), (CONTROL, 0.47))
    runs = pandas.DataFrame(
        [{"cell": GAP.name, "labels": GAP.labels[0], "seed": 0, "arm": arm, "accuracy": value} for arm, value in arms]
    )
    lines = unseen_table(gaps, runs).splitlines()
    assert len(lines) == 3, "the second seed has no runs"
    points = INTERCEPT + SLOPE * 0.1 * 0.8
    assert f"| 0 | {points:+.1f} points (" in lines[2] and lines[2].endswith("| +5.0 |")
