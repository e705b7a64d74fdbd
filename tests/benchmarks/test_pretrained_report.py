import numpy as np
import pytest

from benchmarks.evidence import __main__ as command
from benchmarks.evidence import pretrained_cell, pretrained_report
from benchmarks.evidence.grid import DEFAULT, PLAIN
from benchmarks.evidence.pretrained_cell import (
    AFT,
    ALL,
    ARMS,
    CELLS,
    CONTROL,
    FORMER,
    GAP,
    PICTURES,
    PROBES,
    RANDOM,
    WIDE_GAP,
    Recipe,
    Workplace,
    arms_of,
    packed,
)
from benchmarks.evidence.pretrained_report import (
    BEGIN,
    END,
    OWN_PROBE,
    STUDENTS,
    by_draw,
    by_rate,
    by_weight,
    cell_table,
    gain,
    gap_cells,
    goals_of,
    load,
    readme_table,
    section,
    write,
)

pytestmark = pytest.mark.usefixtures("few_resamples")
FEWEST = GAP.labels[0]
UNLABELLED = {GAP.name: 2000}
"""Enough for a goal that asks for a gain; in other cells there are none."""


def row(cell, arm, labels, seed, accuracy, **changes):
    """A run that gets the first of 200 test rows right."""
    correct = packed(np.arange(200) < round(accuracy * 200))
    known = {"cell": cell.name, "arm": arm, "labels": labels, "seed": seed, "accuracy": accuracy, "test_rows": 200}
    values = {**known, "correct": correct, "processor_seconds": 9, "error": "", **changes}
    return {name: str(value) for name, value in values.items()}


def rows(gained):
    """Arms gain 2 points over a plain student of 0.5, the default what is said; probes of the teacher have 0.6."""
    gains = {**dict.fromkeys(ARMS, 0.02), **dict.fromkeys(PROBES, 0.1), OWN_PROBE: 0.0, PLAIN: 0.0, DEFAULT: gained}
    return [
        row(cell, arm, labels, seed, 0.5 + gains[arm])
        for cell in CELLS
        for arm in gains
        for labels in cell.labels
        for seed in range(3)
    ]


@pytest.fixture
def section_of(monkeypatch, tmp_path):
    def make(made):
        monkeypatch.setattr(pretrained_report, "rows_of", lambda workplace: made)
        monkeypatch.setattr(
            pretrained_report,
            "chosen_by",
            lambda workplace: {GAP.name: {PLAIN: Recipe(1e-4, 3), DEFAULT: Recipe(3e-4)}},
        )
        monkeypatch.setattr(pretrained_report, "unlabelled_rows", lambda cell: UNLABELLED.get(cell.name, 0))
        return section(Workplace(tmp_path, models="", work=""))

    return make


def test_gains_are_paired_by_seed_and_row():
    frame = load(rows(0.06))
    change = gain(frame, GAP, DEFAULT, CONTROL, FEWEST)
    assert change.value == pytest.approx(4.0) and change.low <= change.value <= change.high and change.pairs == 3
    nothing = gain(frame, GAP, DEFAULT, "nobody", FEWEST), gain(load([]), GAP, DEFAULT, PLAIN, FEWEST)
    assert [estimate.pairs for estimate in nothing] == [0, 0]


def test_table_leaves_empty_what_was_not_run():
    made = [row(GAP, PLAIN, FEWEST, 0, 0.5), *(row(GAP, DEFAULT, FEWEST, seed, 0.6) for seed in (0, 1))]
    text = cell_table(load(made), GAP)
    assert f"| {PLAIN} | 50.0 (1) |  |  |  | 9 |" in text and f"| {DEFAULT} | 60.0 (2) | +10.0" in text
    assert text.count("\n") == 1 + len(ARMS) + len(PROBES) and f"| {RANDOM} |  |  |  |  |  |" in text


def test_goals_are_judged_and_the_section_is_renewed_between_its_markers(section_of, tmp_path):
    target = tmp_path / "RESULTS.md"
    target.write_text("# Results\n\nothers\n")
    failed = row(GAP, DEFAULT, FEWEST, 9, 0.0, error="RuntimeError: no memory")
    write(section_of([*rows(0.09), failed]), target)
    text = target.read_text()
    assert text.startswith("# Results\n\nothers\n") and text.count(BEGIN) == text.count(END) == 1
    assert text.count("| reached |") == 6 and "| 90% | reached |" in text and "1 failed" in text
    assert "plain 0.0001 x 900 steps; default 0.0003" in text and "not tuned yet" in text
    assert f"- failed: {GAP.name}, default, {FEWEST} labels, seed 9: RuntimeError: no memory" in text
    write(section_of(rows(-0.03)), target)
    text = target.read_text()
    assert text.count(BEGIN) == 1 and text.count("| **missed** |") == 6
    assert f"default, {GAP.name} at {ALL} labels -3.0" in text
    assert section_of([]).count("| not run yet |") == 1, "without probes no cell is known to have a gap"


def test_what_tuning_tried_is_listed_by_weight():
    tried = [
        row(GAP, AFT, FEWEST, 1000, 0.4, steps=900, weight=weight, validation_accuracy=accuracy)
        for weight, accuracy in ((10.0, 0.5), (1.0, 0.25))
    ]
    failed = row(GAP, AFT, FEWEST, 1000, 0.4, steps=900, weight=3.0, validation_accuracy=0.1, error="no memory")
    text = "Validation accuracy of AFT in tuning: 25.0 at weight 1 and 900 steps, 50.0 at weight 10 and 900 steps.\n"
    assert by_weight(GAP, [*tried, failed]) == text
    assert by_weight(CELLS[1], tried) == ""


def test_other_learning_rates_are_listed_for_both_students():
    tried = [
        row(GAP, arm, FEWEST, 1000, 0.4, steps=900, learning_rate=rate, validation_accuracy=accuracy)
        for arm, rate, accuracy in ((PLAIN, 3e-4, 0.5), (PLAIN, 1e-4, 0.25), (DEFAULT, 1e-3, 0.6), (DEFAULT, 3e-4, 0.7))
    ]
    failed = row(
        GAP, PLAIN, FEWEST, 1000, 0.4, steps=900, learning_rate=1e-3, validation_accuracy="", error="no memory"
    )
    shorter = row(GAP, PLAIN, FEWEST, 1000, 0.4, steps=300, learning_rate=3e-4, validation_accuracy=0.9)
    text = by_rate(GAP, [*tried, failed, shorter])
    assert text == (
        "Validation accuracy by learning rate, 900 steps: plain 25.0 at 0.0001, 50.0 at 0.0003; "
        "default 70.0 at 0.0003, 60.0 at 0.001.\n"
    )
    assert by_rate(GAP, tried[:3]) == "", "one rate is no comparison"


def test_further_draws_compare_what_needs_no_good_teacher_with_the_plain_student():
    tried = [
        row(GAP, arm, FEWEST, seed, 0.4, validation_accuracy=accuracy)
        for arm, seed, accuracy in (
            (PLAIN, 1001, 0.5),
            (CONTROL, 1001, 0.54),
            (PLAIN, 1002, 0.5),
            (CONTROL, 1002, 0.52),
        )
    ]
    of_tuning = row(GAP, CONTROL, FEWEST, 1000, 0.4, validation_accuracy=0.9)
    unpaired = row(GAP, CONTROL, FEWEST, 1003, 0.4, validation_accuracy=0.9)
    former = [row(GAP, FORMER, FEWEST, seed, 0.4, validation_accuracy=0.49) for seed in (1001, 1002)]
    single = row(GAP, DEFAULT, FEWEST, 1001, 0.4, validation_accuracy=0.9)
    few = "Validation accuracy on further draws of the labelled rows, over plain: own features +3.0 points "
    few += "(standard error 1.0, 2 draws)"
    assert by_draw(GAP, [*tried, of_tuning, unpaired, single]) == f"{few}.\n"
    assert by_draw(GAP, [*tried, *former]) == (
        f"{few}; default, features alone -1.0 points (standard error 0.0, 2 draws).\n"
    )
    every = [
        row(GAP, arm, ALL, seed, 0.4, validation_accuracy=accuracy)
        for seed in (1000, 1001)
        for arm, accuracy in ((PLAIN, 0.5), (CONTROL, 0.52))
    ]
    assert by_draw(GAP, every) == (
        "The same with all labels, other weights and batches, 900 steps: own features +2.0 points (standard error 0.0, "
        "2 draws).\n"
    )
    assert by_draw(GAP, tried[:2]) == "" and by_draw(CELLS[1], tried) == ""


def test_harmlessness_counts_random_teachers_too():
    made = [row(GAP, PLAIN, ALL, seed, 0.5) for seed in range(3)] + [
        row(GAP, RANDOM, ALL, seed, 0.4) for seed in range(3)
    ]
    assert goals_of(load(made), {})[-1].reached is False


def test_gains_are_asked_for_where_the_teacher_knows_more_and_ten_rows_to_a_label_have_none():
    frame = load(rows(0.06))
    many = {GAP.name: 2000, PICTURES.name: 800}
    assert gap_cells(frame, many) == [GAP, PICTURES]
    assert gap_cells(frame, {**many, GAP.name: 1999}) == [PICTURES]
    goals = goals_of(frame, many)
    assert [goal.text.split(":")[0] for goal in goals[:-1]] == [GAP.name] * 5 + [PICTURES.name] * 4
    wide = goals_of(frame, {WIDE_GAP.name: 2000})[:-1]
    assert len(wide) == 4 and not any(AFT in goal.text for goal in wide), "no goal over what a cell does not compare"
    close = load(
        [row(PICTURES, name, "80", seed, 0.5 + 0.04 * (name != OWN_PROBE)) for name in PROBES for seed in (0, 1)]
    )
    assert gap_cells(close, many) == [] and len(goals_of(close, many)) == 1


def test_without_packages_all_is_left_out_aloud(tmp_path, monkeypatch, capsys):
    missing = {name: "pip install it" for cell in CELLS for name in (cell.teacher, cell.student)}
    monkeypatch.setattr("benchmarks.evidence.pretrained.missing_packages", lambda models: missing)
    monkeypatch.setattr(pretrained_report, "write", lambda text, target: None)
    monkeypatch.setattr(pretrained_report, "fill_readme", lambda workplace, target: None)
    command.main(["pretrained", "--minutes", "1", "--results", str(tmp_path)])
    assert "left out: all with e5-small" in capsys.readouterr().out
    assert pretrained_cell.Workplace(tmp_path, "", "", missing).cells == []


def test_readme_has_students_of_texts_and_of_pictures():
    text = readme_table(load(rows(0.09)))
    assert "| fine-tuned on the labelled rows | 50.0 (3) |  | 50.0 (3) |  |" in text
    (default,) = [line for line in text.splitlines() if "**the default, a better encoder as teacher**" in line]
    assert default.count(" 59.0 (3) | +9.0 (") == 2
    assert "| SetFit | 52.0 (3) | +2.0 (" in text and text.count("|  |  |\n") == 1, "pictures have no SetFit"
    assert "| not fine-tuned: a linear probe on its frozen features | 50.0 (3) | +0.0 (" in text
    compared = len(STUDENTS) + 1 + len(arms_of(PICTURES, STUDENTS))
    assert readme_table(load([])).count("not run yet") == compared
