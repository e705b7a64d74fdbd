import pytest

from benchmarks import scoring
from hf_ctkd.data import TargetRows

SECONDS = {"preparing": 1.0, "forward": 19.0, "information_gain": 0.5, "leep": 0.1, "total": 20.8}


def test_scores_follow_the_published_definitions():
    for line in scoring.peers(rows=60, classes=3, width=8):
        assert line["score"] == pytest.approx(line["published"], rel=1e-6) and line["seconds"] > 0
        table = scoring.peers_table([line | {"other": 1.0, "other seconds": 20 * line["seconds"]}], 60, 3, 8)
        assert f"- {line['metric']}: within 0.0001 of the definition met" in table[-1] and "met (20.0)" in table[-1]


def test_what_scoring_adds_is_told_with_its_parts():
    assert scoring.overhead(SECONDS) == pytest.approx(0.04)
    runs = {"default metric": SECONDS, "all metrics": SECONDS | {"total": 26.0}}
    lines = scoring.overhead_table(20.5, runs)
    assert "| default metric | 1.0 | 19.0 | 0.6 | 0.2 | 4.0% |" in lines
    assert "Seconds of each metric: information_gain 0.50, leep 0.10." in lines
    goals = scoring.goals_table(64, 2000, runs, large_row=0.1)
    assert "- at most 5% by the default metric: met at 64 pixels (4.0%), met at 224 (0.4%)" in goals
    assert "- at most 10% by the all metrics: missed at 64 pixels (30.0%), met at 224 (3.0%)" in goals


def test_a_teacher_is_timed_as_it_is_scored(tmp_path):
    folder, dataset = scoring.teacher(tmp_path / "teacher", 16), scoring.pictures(12, 2, 16)
    assert scoring.bare_loop(folder, dataset) > 0
    seconds = scoring.scoring(folder, TargetRows.of(dataset), scoring.SETS["default metric"], tmp_path / "cache")
    assert set(seconds) == {"preparing", "forward", "information_gain", "total"} and min(seconds.values()) > 0
    assert scoring.overhead(seconds) > 0
