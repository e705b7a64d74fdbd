"""What the evidence was to show, and whether it does: computed, never typed."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas

from benchmarks.evidence.analysis import Estimate, chosen_by, estimate, over_best_control, per_teacher
from benchmarks.evidence.grid import DEFAULT, IMBALANCED, SMALL


@dataclass(frozen=True)
class Goal:
    """One goal with what was measured.

    Args:
        text: what was asked for.
        measured: what came out.
        reached: whether it was reached; by the mean, not by the whole interval.
    """

    text: str
    measured: str
    reached: bool


def goals(runs: pandas.DataFrame, scores: pandas.DataFrame) -> list[Goal]:
    """All goals that can be computed from the runs at hand."""
    small = runs[runs["cell"].isin([str(cell) for cell in SMALL])]
    cross = small[small["cross"]]
    default = cross[cross["method"] == DEFAULT]
    found = [
        _at_least("default over the tuned plain student, mean over cross-task teachers", estimate(default), 8.0),
        _at_least("default over the best teacher-free control of each cell", over_best_control(cross, DEFAULT), 3.0),
        _at_least("best teacher by the selector over the plain student", estimate(chosen_by(scores, runs)), 12.0),
    ]
    imbalanced = runs["cell"] == str(IMBALANCED)
    for name, chosen in (("balanced", runs[~imbalanced]), ("imbalanced", runs[imbalanced])):
        teachers = per_teacher(chosen)
        found += [_no_mean_below_zero(name, teachers), _no_interval_below(name, teachers)]
    return found


def _at_least(text: str, measured: Estimate, bound: float) -> Goal:
    return Goal(f"{text}: at least {bound:+.0f} points", str(measured), measured.value >= bound)


def _no_mean_below_zero(name: str, teachers: Mapping[tuple[str, str], Estimate]) -> Goal:
    below = [f"{names[1]} {one.value:+.1f}" for names, one in teachers.items() if one.value < 0]
    said = f"{len(teachers)} teachers, below zero: {', '.join(below) or 'none'}"
    return Goal(f"any teacher, {name} cells: mean change at least 0", said, bool(teachers) and not below)


def _no_interval_below(name: str, teachers: Mapping[tuple[str, str], Estimate]) -> Goal:
    below = [f"{names[1]} {one}" for names, one in teachers.items() if one.high < -0.5]
    said = f"{len(teachers)} teachers, below: {', '.join(below) or 'none'}"
    return Goal(f"any teacher, {name} cells: no 95 % interval below -0.5", said, bool(teachers) and not below)
