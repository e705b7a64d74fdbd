import numpy as np
import pandas
import pytest
from tiny_suite import row, runs_with, scores_with

from benchmarks.evidence.analysis import (
    OTHER_SEEDS,
    against,
    agreement,
    best_controls,
    chosen_by,
    estimate,
    load_runs,
    load_scores,
    other_seeds,
    over_best_control,
    per_teacher,
    split,
    worst_teacher,
)
from benchmarks.evidence.grid import BALANCED, CELLS, DEFAULT, IMBALANCED, PLAIN, Cell
from benchmarks.evidence.scores import METRICS


def test_a_gain_is_paired_by_cell_and_seed():
    runs = load_runs(
        [
            row(BALANCED, PLAIN, 0, 0.5),
            row(BALANCED, PLAIN, 1, 0.7),
            row(BALANCED, DEFAULT, 0, 0.6, teacher="arrows"),
            row(BALANCED, DEFAULT, 1, 0.65, teacher="handwriting"),
            row(BALANCED, DEFAULT, 2, 0.65, teacher="arrows"),
            row(BALANCED, DEFAULT, 3, 0, teacher="arrows", error="RuntimeError"),
        ]
    )
    default = runs[runs["method"] == DEFAULT]
    assert default["gain"].round(6).tolist() == [10.0, -5.0], "without a plain student of the seed there is no gain"
    assert default["cross"].tolist() == [True, False]


def test_a_gain_at_three_times_the_steps_is_over_the_plain_student_at_three_times_its_own():
    rows = [row(BALANCED, PLAIN, 0, 0.5), row(BALANCED, PLAIN, 0, 0.7, times=3)]
    rows += [row(BALANCED, DEFAULT, 0, 0.6, teacher="arrows", times=times) for times in (1, 3)]
    rows.append(row(BALANCED, PLAIN, 0, 0.1, times=""))  # of an older format
    usual, longer = split(load_runs(rows))
    assert usual[usual["method"] == DEFAULT]["gain"].round(6).tolist() == [10.0]
    assert longer[longer["method"] == DEFAULT]["gain"].round(6).tolist() == [-10.0]
    assert len(usual) == len(longer) == 2 and usual["times"].dtype.kind == "i"


def test_an_estimate_weighs_cells_alike_and_covers_their_spread():
    frame = pandas.DataFrame(
        [{"cell": "a", "seed": seed, "gain": 10.0} for seed in range(4)]
        + [{"cell": "a", "seed": 0, "gain": 10.0}]
        + [{"cell": "b", "seed": 0, "gain": 0.0}]
    )
    found = estimate(frame)
    assert (found.value, found.low, found.high) == (5.0, 0.0, 10.0)
    assert (found.cells, found.pairs) == (2, 5)


def test_an_interval_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(60):
        cells = generator.normal(2.0, 1.0, size=10)
        frame = pandas.DataFrame(
            [
                {"cell": cell, "seed": seed, "gain": cells[cell] + generator.normal(0, 1.0)}
                for cell in range(10)
                for seed in range(6)
            ]
        )
        found = estimate(frame)
        covered += found.low <= 2.0 <= found.high
    assert covered >= 50


def test_methods_are_compared_on_what_both_have():
    rows = [row(BALANCED, PLAIN, seed, 0.5) for seed in range(2)]
    rows += [row(BALANCED, "probe", 0, 0.6, teacher="arrows"), row(BALANCED, "probe", 0, 0.1, teacher="greek")]
    rows += [row(BALANCED, "label map", seed, 0.55, teacher="arrows") for seed in range(2)]
    found = against(load_runs(rows), "probe", "label map")
    assert found.value == pytest.approx(5.0) and found.pairs == 1


def test_a_control_of_fewer_seeds_is_no_candidate_for_the_best():
    rows = [row(BALANCED, method, seed, 0.5) for method in (PLAIN, "spectral") for seed in range(2)]
    rows += [row(BALANCED, "bss", 0, 0.5, validation_accuracy=0.9)]
    assert best_controls(load_runs(rows))[str(BALANCED)] in (PLAIN, "spectral")


def test_the_best_control_is_chosen_on_validation_rows():
    rows = [
        row(BALANCED, PLAIN, 0, 0.5),
        row(BALANCED, "bss", 0, 0.9, validation_accuracy=0.4),
        row(BALANCED, "spectral", 0, 0.55, validation_accuracy=0.8),
        row(BALANCED, DEFAULT, 0, 0.6, teacher="arrows"),
    ]
    runs = load_runs(rows)
    assert best_controls(runs) == {str(BALANCED): "spectral"}
    assert over_best_control(runs, DEFAULT).value == pytest.approx(5.0)


def test_teachers_are_told_apart_by_what_they_read():
    text = Cell("scipy-docstrings", 150)
    rows = runs_with((BALANCED, text), 0.1)
    rows += [row(BALANCED, "other", seed, 0.45, teacher="random-weights") for seed in range(3)]
    rows += [row(text, "other", seed, 0.9, teacher="random-weights") for seed in range(3)]
    found = per_teacher(load_runs(rows), "other")
    assert found["image", "random-weights"].value < 0 < found["text", "random-weights"].value
    assert worst_teacher(load_runs(rows), "other")[0] == "random-weights image"


def test_a_score_in_the_order_of_the_outcomes_has_tau_one_and_no_regret():
    outcomes = {"arrows": 0.5, "greek": 0.6, "font-letters": 0.7, "handwriting": 0.9}
    rows = [row(IMBALANCED, PLAIN, seed, 0.5) for seed in range(2)]
    rows += [
        row(IMBALANCED, DEFAULT, seed, value, teacher=name) for seed in range(2) for name, value in outcomes.items()
    ]
    runs = load_runs(rows)
    good = load_scores(scores_with(IMBALANCED, outcomes))
    found = agreement(good, runs, METRICS[0])
    assert (found.tau.value, found.tau_of_means.value) == (pytest.approx(100), pytest.approx(100))
    assert (found.regret.value, found.regret_of_three.value) == (0.0, 0.0)
    assert chosen_by(good, runs)["teacher"].tolist() == ["handwriting", "handwriting"]
    bad = load_scores(scores_with(IMBALANCED, {name: -value for name, value in outcomes.items()}))
    found = agreement(bad, runs, METRICS[0])
    assert (found.tau.value, found.regret.value) == (pytest.approx(-100), pytest.approx(40))
    assert found.regret_of_three.value == pytest.approx(20), "the third is 20 points below the best"


def test_a_score_is_held_against_what_the_outcomes_of_other_seeds_would_tell():
    by_seed = [{"arrows": 0.5, "greek": 0.6, "font-letters": 0.7}, {"arrows": 0.5, "greek": 0.7, "font-letters": 0.6}]
    rows = [row(IMBALANCED, PLAIN, seed, 0.5) for seed in range(2)]
    for seed, outcomes in enumerate(by_seed):
        rows += [row(IMBALANCED, DEFAULT, seed, value, teacher=name) for name, value in outcomes.items()]
    rows += [row(BALANCED, PLAIN, 0, 0.5), row(BALANCED, DEFAULT, 0, 0.5, teacher="arrows")]
    runs = load_runs(rows)
    known = other_seeds(runs)
    assert set(known["cell"]) == {str(IMBALANCED)}, "a teacher with a single seed has no other"
    first = known[known["seed"] == 0].set_index("teacher")["value"].round(6)
    assert first.to_dict() == {"arrows": 50.0, "greek": 70.0, "font-letters": 60.0}
    found = agreement(known, runs, OTHER_SEEDS)
    assert found.tau.value < 50 and found.regret.value == pytest.approx(10), "the first two change places"
    # Means over both seeds tie the first two, so that a score that puts either first loses nothing on average.
    truth = load_scores(scores_with(IMBALANCED, {"arrows": 1.0, "greek": 2.0, "font-letters": 3.0}))
    assert agreement(truth, runs, METRICS[0]).tau_of_means.value > agreement(truth, runs, METRICS[0]).tau.value


def test_nothing_measured_is_no_error():
    assert load_runs([]).empty and load_scores([]).empty
    assert estimate(pandas.DataFrame()).pairs == 0
    runs = load_runs([row(cell, PLAIN, 0, 0.5) for cell in CELLS])
    assert chosen_by(load_scores([]), runs).empty
