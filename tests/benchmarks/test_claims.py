from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest
from tiny_suite import row, runs_with

from benchmarks.evidence import claims, pretrained_report
from benchmarks.evidence.analysis import load_runs, load_scores
from benchmarks.evidence.claims import CLAIMS, NOT_RUN, Tables, section
from benchmarks.evidence.grid import BALANCED, IMBALANCED, PLAIN
from benchmarks.evidence.pretrained_cell import AFT, GAP

pytestmark = pytest.mark.usefixtures("few_resamples")

EMPTY = Tables(
    *(pandas.DataFrame() for _ in range(4)), pretrained_report.load([]), *(pandas.DataFrame() for _ in range(2))
)
RESULTS = Path(claims.__file__).parent / "results"


def outcomes(tables):
    return {claim.text: claim.measure(tables) for claim in CLAIMS}


def test_nothing_measured_is_neither_true_nor_false():
    assert {(outcome.figure, outcome.verdict) for outcome in outcomes(EMPTY).values()} == {(NOT_RUN, "-")}
    assert section(EMPTY).count(NOT_RUN) == len(CLAIMS)


@pytest.mark.parametrize(("gain", "verdict"), [(0.1, "holds"), (-0.1, "**does not hold**")])
def test_a_loss_is_judged_over_plain_training(gain, verdict):
    runs = load_runs(runs_with((BALANCED, IMBALANCED), gain))
    outcome = outcomes(replace(EMPTY, runs=runs, scores=load_scores([])))
    objective = outcome["that cost is an objective to distil by"]
    assert objective.verdict == verdict and f"{100 * gain:+.1f}" in objective.figure
    pair = outcome["an inverted projection is above a traditional one across tasks (up to 1.9 %)"]
    assert pair.verdict == "not settled" and "+0.0" in pair.figure, "equal is not above"


def test_random_teachers_have_a_claim_of_their_own():
    rows = [row(BALANCED, PLAIN, seed, 0.5) for seed in range(3)]
    for teacher, accuracy in (("random-weights", 0.6), ("arrows", 0.4)):
        rows += [row(BALANCED, "inverted projection", seed, accuracy, teacher=teacher) for seed in range(3)]
    outcome = outcomes(replace(EMPTY, runs=load_runs(rows)))
    assert "+10.0" in outcome["it helps with a random teacher"].figure


WAYS = {"inverted": 0.25, "traditional": 0.21}
"""Projections of a dense student, and what they reach."""


def test_dense_students_are_compared_in_per_cent_of_their_metric(tmp_path):
    lines = ["task,scenes,seed,teacher,distance,direction,weight,value"]
    for seed in range(2):
        lines += [f"mask,40,{seed},plain,,,,0.2", f"depth,40,{seed},plain,,,,0.4"]
        lines += [f"mask,40,{seed},random,l2,inverted,0.1,0.22", f"depth,40,{seed},random,l2,inverted,0.1,0.36"]
        lines += [f"mask,40,{seed},handwriting,l2,{way},0.1,{value}" for way, value in WAYS.items()]
        lines += [f"mask,40,{seed},handwriting,at,inverted,1.0,0.1", f"depth,40,{seed},spectral,,,,0.5"]
    (tmp_path / "dense.csv").write_text("\n".join(lines))
    outcome = outcomes(replace(EMPTY, dense=claims.load_dense(tmp_path / "dense.csv")))
    random = outcome["on dense tasks it helps with a random teacher (up to 7 %)"]
    assert random.figure.startswith("+10.0 (") and random.figure.endswith("%") and random.verdict == "holds"
    direction = outcome["an inverted projection is above a traditional one on dense tasks"]
    assert direction.figure.startswith("+20.0 (") and direction.verdict == "holds"
    spectral = outcome["on dense tasks the spectral part alone helps"]
    assert spectral.figure.startswith("-25.0 (") and spectral.verdict == "**does not hold**", "a larger error is worse"
    by_cell = claims.dense_table(claims.load_dense(tmp_path / "dense.csv"))[-1]
    assert "| teacher | projection | distance | weight | depth @ 40 | mask @ 40 |" in by_cell
    assert "| random | inverted | l2 | 0.1 | +10.0 (+10.0 to +10.0) (2) | +10.0 (+10.0 to +10.0) (2) |" in by_cell
    assert "| handwriting | traditional | l2 | 0.1 |  | +5.0" in by_cell and "| spectral |  |  |  | -25.0" in by_cell
    assert "| handwriting | inverted | at | 1.0 |  | -50.0" in by_cell, "of no claim, which speak of l2"
    tried = [f"mask,40,1000,handwriting,at,inverted,{weight},{value}" for weight, value in ((0.1, 0.3), (1.0, 0.15))]
    (tmp_path / "trials.csv").write_text("\n".join([lines[0], "mask,40,1000,plain,,,,0.2", *tried]))
    (sentence,) = claims.dense_weights(claims.load_dense(tmp_path / "trials.csv"))
    assert sentence.endswith("from the classifier: mask @ 40, at: +50.0 at 0.1, -25.0 at 1.")
    nothing = claims.load_dense(tmp_path / "none.csv")
    assert claims.dense_weights(nothing) == []
    assert nothing.empty and claims.dense_table(nothing) == []


def test_pretrained_students_are_compared_as_tuned():
    frame = Tables.of(RESULTS).pretrained
    assert set(frame["cell"]) >= {GAP.name} and not frame.duplicated(["cell", "arm", "labels", "seed"]).any()
    alike = frame[frame["arm"] == PLAIN]
    better = alike.assign(arm=AFT, correct=[np.ones_like(rows) for rows in alike["correct"]])
    tables = replace(EMPTY, pretrained=pandas.concat([alike, better]))
    assert outcomes(tables)["so do kernels of their features"].verdict == "holds"


def test_committed_tables_give_a_verdict_on_committees_and_pools():
    outcome = outcomes(Tables.of(RESULTS))
    for claim in CLAIMS:
        if claim.paper in ("Generic teacher", "DiverseDistill") and claim.measure is not claims.not_measured:
            assert outcome[claim.text].verdict != "-", claim.text
