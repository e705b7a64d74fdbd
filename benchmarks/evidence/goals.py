"""What the evidence was to show, and whether it does: computed, never typed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas

from benchmarks.evidence.analysis import Estimate, chosen_by, estimate, over_best_control, per_teacher
from benchmarks.evidence.grid import DEFAULT, IMBALANCED, SMALL

HARMLESS = -0.5
"""Points over the plain student that no teacher is to fall below."""


@dataclass(frozen=True)
class Goal:
    """One goal with what was measured.

    Args:
        text: what was asked for.
        measured: what came out.
        reached: whether it was reached, by the mean unless it says otherwise; None without runs.
    """

    text: str
    measured: str
    reached: bool | None

    @property
    def verdict(self) -> str:
        return "not run yet" if self.reached is None else "reached" if self.reached else "**missed**"


def goals(runs: pandas.DataFrame, scores: pandas.DataFrame) -> list[Goal]:
    """All goals that can be computed from the runs at hand."""
    small = runs[runs["cell"].isin([str(cell) for cell in SMALL])]
    cross = small[small["cross"]]
    default = cross[cross["method"] == DEFAULT]
    reached = [
        _at_least("default over the tuned plain student, mean over cross-task teachers", estimate(default), 8.0),
        _at_least("default over the best teacher-free control of each cell", over_best_control(cross, DEFAULT), 3.0),
        _at_least("best teacher by the selector over the plain student", estimate(chosen_by(scores, runs)), 12.0),
    ]
    imbalanced = runs["cell"] == str(IMBALANCED)
    for name, chosen in (("balanced", runs[~imbalanced]), ("imbalanced", runs[imbalanced])):
        teachers = per_teacher(chosen)
        reached += [_no_mean_below(name, teachers), _no_interval_below(name, teachers)]
    return reached


def _at_least(text: str, measured: Estimate, bound: float) -> Goal:
    text = f"{text}: at least {bound:+.0f} points"
    return Goal(text, str(measured), measured.value >= bound) if measured.pairs else Goal(text, "", None)


def gap_goals(
    cell: str,
    over_plain: Estimate,
    over_control: Estimate,
    over_setfit: Estimate | None,
    over_transfer: Estimate | None,
    share_of_the_way: float | None,
) -> list[Goal]:
    """The goals of a pretrained student whose teacher knows more, with few labels and many rows without one.

    Args:
        cell: its name.
        over_plain: gain of the default over the plain student.
        over_control: the same over the best teacher-free control.
        over_setfit: the same over SetFit; None where the cell does not compare it.
        over_transfer: the same over the better of B-Tuning and AFT; None where the cell compares neither.
        share_of_the_way: from the plain student to the probe of teacher and student together; None without runs.
    """
    way = f"{cell}: default's share of the way from the plain student to the probe of both models: at least 80 %"
    others = {"SetFit": over_setfit, "the better of B-Tuning and AFT": over_transfer}
    return [
        _at_least(f"{cell}: default over the plain student", over_plain, 5.0),
        _at_least(f"{cell}: the same over the best teacher-free control", over_control, 4.0),
        *(_at_least(f"{cell}: the same over {other}", gain, 1.0) for other, gain in others.items() if gain is not None),
        Goal(way, "", None)
        if share_of_the_way is None
        else Goal(way, f"{share_of_the_way:.0%}", share_of_the_way >= 0.8),
    ]


def harmless_goal(harmless: Mapping[str, Estimate]) -> Goal:
    """The goal of every pretrained student.

    Args:
        harmless: gain of the default over the plain student with every teacher and number of labels.
    """
    below = [f"{name} {change}" for name, change in harmless.items() if change.high < HARMLESS]
    return _harmless(f"any teacher, any number of labels: no 95 % interval below {HARMLESS}", below, len(harmless))


def _no_mean_below(name: str, teachers: Mapping[tuple[str, str], Estimate]) -> Goal:
    below = [f"{names[1]} {change.value:+.1f}" for names, change in teachers.items() if change.value < HARMLESS]
    return _harmless(f"any teacher, {name} cells: mean change at least {HARMLESS}", below, len(teachers))


def _no_interval_below(name: str, teachers: Mapping[tuple[str, str], Estimate]) -> Goal:
    below = [f"{names[1]} {change}" for names, change in teachers.items() if change.high < HARMLESS]
    return _harmless(f"any teacher, {name} cells: no 95 % interval below {HARMLESS}", below, len(teachers))


def _harmless(text: str, below: Sequence[str], teachers: int) -> Goal:
    measured = f"{teachers} teachers, below: {', '.join(below) or 'none'}"
    return Goal(text, measured, not below if teachers else None)
