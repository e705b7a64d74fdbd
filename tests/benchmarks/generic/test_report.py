import pytest
from tables import SPEED, row, runs

from benchmarks.evidence.generic.analysis import load
from benchmarks.evidence.generic.design import (
    ABLATIONS,
    CASES,
    EXACT_TARGET,
    GENERIC,
    PLAIN,
    RICH,
    SAME,
    UNIFORM,
    WRONG_TARGET,
)
from benchmarks.evidence.generic.figures import draw
from benchmarks.evidence.generic.report import BEGIN, END, Part, goals_table, section

pytestmark = pytest.mark.usefixtures("few_resamples")

TUNING = {
    "chosen": {
        "teacher_rate": 1e-3, "student_rate": 1e-2, "alone_rate": 3e-3, "plain_temperature": 4.0,
        "generic_temperature": 2.0, "branches": {"kl_direction": "from_branch"}, "plain_regular": 0.1,
    }
}  # fmt: skip


def said(rows, failed=(), case=RICH):
    return section([Part(case, load(rows), TUNING, failed)], SPEED)


def test_the_section_names_every_arm_ablation_goal_and_failure():
    failed = [row("student", GENERIC, 0, 0.0, student="x", error="RuntimeError: no memory")]
    text = said(runs(), failed)
    assert text.startswith(BEGIN) and text.rstrip().endswith(END)
    for name in (PLAIN, GENERIC, UNIFORM, WRONG_TARGET, EXACT_TARGET, *ABLATIONS):
        assert name in text, name
    assert "1 failed" in text and "RuntimeError: no memory" in text
    assert "with the plain teacher 4, with the others 2." in text and "kl_direction from_branch" in text
    assert "700 other labelled ones" in text and "weight decay" not in text
    assert "| generic teacher | 20 x 3 | 92.8 | +1.85 " in text and "| 95% |" in text


def test_a_plain_teacher_at_the_same_temperature_is_told_beside():
    rows = [one for one in runs() if one["kind"] == "student" and one["arm"] == PLAIN]
    same = [{**one, "arm": SAME, "accuracy": str(float(one["accuracy"]) + 0.03)} for one in rows]
    frame = load([*runs(), *same])
    assert "95%; mean gain +1.85" in goals_table(frame, SPEED) and "(at one temperature 0%; -1.15" in goals_table(
        frame, SPEED
    )
    assert f"| {SAME} | 20 x 3 |" in said([*runs(), *same])


def test_every_case_has_a_part_of_its_own():
    both = section([Part(case, load(runs()), TUNING, []) for case in CASES], SPEED)
    assert [both.count(f"### {case.title}") for case in CASES] == [1] * len(CASES)
    assert "teachers learn from the same 150" in both and "label smoothing of the plain one 0.1" in both
    assert "figures/generic_gains.png" in both and "figures/generic_gains_scarce.png" in both
    assert f"{len(CASES) * sum(one['kind'] == 'student' for one in runs())} students" in both


def test_goals_are_reached_or_missed_by_the_figures():
    text = goals_table(load(runs()), SPEED)
    assert text.count("| reached |") == 4 and "1.50 specialised teachers" in text and "2.90 (29.0 ms against" in text
    assert "3.30 in its first 60" in text and "at one temperature" not in text
    slow = {**SPEED, "step_ms": {PLAIN: 10.0, GENERIC: 31.0}}
    worse = goals_table(load(runs(-0.02)), slow)
    assert worse.count("**missed**") == 3 and "0%; mean gain" in worse


def test_figures_are_drawn(tmp_path):
    draw(load(runs()), SPEED["latency_ms"], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"generic_gains.png", "generic_latency.png"}
    draw(load(runs()), SPEED["latency_ms"], tmp_path, "scarce")
    assert (tmp_path / "generic_gains_scarce.png").is_file() and (tmp_path / "generic_latency_scarce.png").is_file()
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.iterdir())
