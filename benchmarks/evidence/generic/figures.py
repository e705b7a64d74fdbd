"""Figures of the section."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import pandas

from benchmarks.evidence.generic.analysis import students
from benchmarks.evidence.generic.design import EXACT_TARGET, GENERIC, PLAIN, STARTED, UNIFORM, WRONG_TARGET
from hf_ctkd.generic import pareto_front

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402 (after the backend is chosen)

COLOURS = {
    PLAIN: "tab:gray",
    GENERIC: "tab:blue",
    STARTED: "tab:purple",
    UNIFORM: "tab:green",
    WRONG_TARGET: "tab:orange",
    EXACT_TARGET: "tab:red",
}


def draw(frame: pandas.DataFrame, latency: Mapping[str, float], folder: Path, slug: str = "") -> None:
    """Write the figures that the section shows of one case."""
    folder.mkdir(parents=True, exist_ok=True)
    _gains(frame, folder / figure_name("gains", slug))
    _latency(frame, latency, folder / figure_name("latency", slug))


def figure_name(kind: str, slug: str) -> str:
    """Of a figure of a case."""
    return f"generic_{kind}_{slug}.png" if slug else f"generic_{kind}.png"


def _gains(frame: pandas.DataFrame, path: Path) -> None:
    plain = students(frame, PLAIN)
    gains = (students(frame, GENERIC) - plain).mean(axis=1).sort_values()
    figure, axis = pyplot.subplots(figsize=(7.5, 0.3 * len(gains) + 1.3), layout="constrained")
    places = {name: row for row, name in enumerate(gains.index)}
    for arm in (GENERIC, STARTED, UNIFORM, WRONG_TARGET, EXACT_TARGET):
        arm_gains = (students(frame, arm) - plain).mean(axis=1).dropna()
        names = [name for name in arm_gains.index if name in places]
        axis.scatter(
            [arm_gains[name] for name in names], [places[name] for name in names], s=26 if arm == GENERIC else 14,
            color=COLOURS[arm], label=arm, zorder=3 if arm == GENERIC else 2,
        )  # fmt: skip
    axis.set_yticks(range(len(gains)), gains.index, fontsize=7)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.grid(axis="y", color="#eeeeee")
    axis.set_axisbelow(True)
    axis.set_xlabel("points over the same student of a plain teacher, mean over seeds")
    figure.legend(loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _latency(frame: pandas.DataFrame, latency: Mapping[str, float], path: Path) -> None:
    figure, axis = pyplot.subplots(figsize=(6.5, 4.2), layout="constrained")
    for arm in (PLAIN, GENERIC, STARTED):
        arm_means = students(frame, arm).mean(axis=1)
        names = [name for name in arm_means.index if name in latency]
        costs, values = [latency[name] for name in names], [float(arm_means[name]) for name in names]
        axis.scatter(costs, values, s=16, color=COLOURS[arm], label=f"students of the {arm}")
        front = pareto_front(costs, values)
        axis.plot(
            [costs[index] for index in front], [values[index] for index in front], color=COLOURS[arm], linewidth=1
        )
    axis.set_xlabel("milliseconds a row, one CPU thread")
    axis.set_ylabel("test accuracy, mean over seeds")
    axis.grid(color="#eeeeee")
    axis.set_axisbelow(True)
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
