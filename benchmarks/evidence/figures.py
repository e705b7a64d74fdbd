"""Figures of the report."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import pandas

from benchmarks.evidence.analysis import Estimate, chosen_by, estimate, per_teacher
from benchmarks.evidence.grid import CONTROLS, DEFAULT, IMBALANCED, PLAIN
from benchmarks.evidence.report import comparable
from benchmarks.evidence.scores import METRICS

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402 (after the backend is chosen)


def draw(runs: pandas.DataFrame, scores: pandas.DataFrame, folder: Path) -> None:
    """Write the figures that the report shows."""
    folder.mkdir(parents=True, exist_ok=True)
    _methods(runs, folder / "evidence_methods.png")
    _teachers(runs, folder / "evidence_teachers.png")
    _scores(runs, scores, folder / "evidence_scores.png")


def _bars(
    axis: pyplot.Axes, names: Sequence[str], estimates: Sequence[Estimate], *, colour: str, shift: float = 0.0
) -> None:
    places = [position + shift for position in range(len(names))]
    values = [estimated.value for estimated in estimates]
    errors = [
        [estimated.value - estimated.low for estimated in estimates],
        [estimated.high - estimated.value for estimated in estimates],
    ]
    axis.errorbar(values, places, xerr=errors, fmt="o", color=colour, capsize=3)


def _methods(runs: pandas.DataFrame, path: Path) -> None:
    part = comparable(runs)
    names = [name for name in dict.fromkeys(part["method"]) if name != PLAIN]
    names.sort(key=lambda name: estimate(part[part["method"] == name]).value)
    figure, axis = pyplot.subplots(figsize=(7, 0.4 * len(names) + 1.2), layout="constrained")
    for position, name in enumerate(names):
        colour = "tab:gray" if name in CONTROLS else "tab:blue"
        _bars(axis, [name], [estimate(part[part["method"] == name])], colour=colour, shift=position)
    axis.set_yticks(range(len(names)), names)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_xlabel("points over the tuned plain student (grey: without a teacher)")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _teachers(runs: pandas.DataFrame, path: Path) -> None:
    imbalanced = runs["cell"] == str(IMBALANCED)
    balanced, other = per_teacher(runs[~imbalanced]), per_teacher(runs[imbalanced])
    names = sorted(balanced, key=lambda teacher: (teacher[0], balanced[teacher].value))
    figure, axis = pyplot.subplots(figsize=(7, 0.28 * len(names) + 1.2), layout="constrained")
    for position, name in enumerate(names):
        _bars(axis, [""], [balanced[name]], colour="tab:blue", shift=position)
        if name in other:
            _bars(axis, [""], [other[name]], colour="tab:orange", shift=position - 0.25)
    axis.set_yticks(range(len(names)), [f"{teacher} ({kind})" for kind, teacher in names])
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_xlabel("points over the tuned plain student; blue balanced, orange imbalanced")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _scores(runs: pandas.DataFrame, scores: pandas.DataFrame, path: Path) -> None:
    figure, axis = pyplot.subplots(figsize=(6, 4), layout="constrained")
    default = runs[runs["method"] == DEFAULT]
    if len(scores):
        default_scores = scores[scores["metric"] == METRICS[0]][["cell", "seed", "teacher", "value"]]
        joined = default.merge(default_scores, on=["cell", "seed", "teacher"])
        for cell, group in joined.groupby("cell"):
            axis.scatter(group["value"], group["gain"], s=12, label=cell)
        chosen = chosen_by(scores, runs)
        axis.scatter(chosen["value"], chosen["gain"], s=40, facecolors="none", edgecolors="black", label="chosen")
        axis.legend(fontsize=6)
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set_xlabel(f"{METRICS[0]} on the labelled rows")
    axis.set_ylabel("points over the plain student")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
