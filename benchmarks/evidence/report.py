"""Tables of the report: Markdown, from the runs alone."""

import importlib.metadata
import os
import platform
from collections.abc import Iterable, Mapping, Sequence

import pandas

from benchmarks.evidence.analysis import (
    OTHER_SEEDS,
    Estimate,
    against,
    agreement,
    best_controls,
    chosen_by,
    estimate,
    other_seeds,
    over_best_control,
    per_teacher,
    worst_teacher,
)
from benchmarks.evidence.goals import goals
from benchmarks.evidence.grid import (
    CELLS,
    CONTROLS,
    DEFAULT,
    DETAILED,
    FEWEST,
    IMBALANCED,
    METHODS,
    PLAIN,
    STEPS,
)
from benchmarks.evidence.settings import OTHER_STEPS

BEGIN, END = "<!-- evidence:begin -->", "<!-- evidence:end -->"
_PACKAGES = ("torch", "transformers", "datasets", "scikit-learn")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(entry) for entry in row) + " |" for row in rows]
    return "\n".join(lines)


def section(
    runs: pandas.DataFrame,
    scores: pandas.DataFrame,
    failed: Sequence[dict[str, str]],
    longer: pandas.DataFrame,
    spent: Sequence[Mapping[str, str]] = (),
) -> str:
    """The whole section of `RESULTS.md`, between its markers.

    Args:
        runs: from `load_runs`, at the usual number of steps.
        scores: from `load_scores`.
        failed: rows of failed runs.
        longer: runs at a multiple of their steps.
        spent: rows of `score_costs.costs`.
    """
    parts = [
        BEGIN,
        "## Does a teacher of another task help?\n",
        _introduction(runs, failed, len(longer)),
        "### Goals\n",
        "Computed from the runs by `benchmarks/evidence/goals.py`; *reached* goes by the mean.\n",
        goals_table(runs, scores),
        "\n### By target task\n",
        _CELLS_NOTE,
        cells_table(runs, scores),
        "\n### By method\n",
        _METHODS_NOTE,
        methods_table(runs),
        "\n![methods](figures/evidence_methods.png)\n",
        "### By teacher, default method\n",
        _TEACHERS_NOTE,
        teachers_table(runs),
        "\n![teachers](figures/evidence_teachers.png)\n",
        "### Pairs of methods\n",
        pairs_table(runs),
        f"\n### At three times the steps\n\n{_LONGER_NOTE}\n{longer_table(runs, longer)}",
        "\n### Which teacher: scores against outcomes\n",
        _SCORES_NOTE,
        agreement_table(runs, pandas.concat([scores, other_seeds(runs)]), spent),
        "\n![scores](figures/evidence_scores.png)\n",
        END,
    ]
    return "\n".join(parts) + "\n"


_CELLS_NOTE = (
    "Accuracy of the tuned plain student; gains over it in points. *Default, cross-task* is the mean over all teachers "
    "of another task; *by the selector* the teacher that the selector puts first without seeing a test row (it may be "
    "one of the same task); the best control is the one with the highest validation accuracy, plain among them. Seeds "
    "are those of the default and of the plain student beside it.\n"
)
_METHODS_NOTE = (
    "Only cells and teachers that all methods ran on, teachers of another task only; seeds may differ. *Worst "
    "teacher*: the lowest mean change.\n"
)
_TEACHERS_NOTE = (
    "Mean change over the plain student. Balanced: all cells but one; imbalanced: five of ten digits at a fifth of "
    "their rows, in every split.\n"
)
_SCORES_NOTE = (
    "Each score, computed on the labelled training rows before any training, against the default's test accuracy, per "
    "cell and seed. Weighted Kendall tau as `scipy.stats.weightedtau(outcome, score, rank=None)`: ranks by outcome, so "
    "that the best teachers weigh most. Regret: points lost to the best teacher by taking the first one, or the best "
    "of the first three. `parameters`, `random` and `source accuracy` (a teacher's own, on held-out rows of its own "
    "task; the sentence encoder has none and is left out there) know nothing of the target: a score that does not beat "
    "them is no evidence. *Outcome of the other seeds* has trained every student already, on other draws of labels and "
    "weights: what a single outcome lets anyone know of teachers that lie close together. *Of means over seeds*: "
    "scores and outcomes are averaged over the seeds of a cell first. Rows read (all teachers together), megabytes of "
    "weights and processor seconds of a ranking by that score alone are sums over one cell of pictures and one of "
    "texts, with nothing cached (`python -m benchmarks.evidence costs`).\n"
)
_LONGER_NOTE = (
    "The main arms once more at three times their steps, with teachers of another task; both columns rest on the same "
    "cells, seeds and teachers, and a gain is over the plain student at the same multiple of its own steps.\n"
)
_HOW = (
    "Every student of a cell and seed has the same labelled rows and initial weights. Without a loss, a student trains "
    f"on labelled rows alone. All arms but the plain student take {STEPS} optimiser steps. Learning rate "
    "and regularisation were tuned on validation rows of two cells of each kind with two other seeds; no arm "
    "had more trials than the plain student, and arms that were not tuned took the settings of their kin "
    "(`results/tuning.json`). Losses have their default settings in every cell. Test rows chose nothing. Gains are "
    "paired by cell and seed; intervals are 95 % bootstrap intervals that resample cells and, within each, seeds. With "
    "few seeds such an interval is too narrow where it rests on a single cell.\n"
)


def _introduction(runs: pandas.DataFrame, failed: Sequence[dict[str, str]], longer: int) -> str:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    seeds = runs.groupby("cell")["seed"].nunique()
    reasons = "".join(
        f"\n- failed: {run['task']} @ {run['labels']}, {run['method']}, {run['teacher']}: {run['error']}"
        for run in failed
    )
    seconds = runs.groupby("modality")["seconds"].median()
    speed = " and ".join(f"{value:.1f} s a run of {kind} rows" for kind, value in seconds.items())
    return (
        f"Written by `python -m benchmarks.evidence report` from `benchmarks/evidence/results/`: {len(runs)} runs "
        f"and {longer} at three times the steps, {len(failed)} failed; {runs['cell'].nunique()} cells, "
        f"{seeds.min()}{f' to {seeds.max()}' if seeds.max() > seeds.min() else ''} seeds; median {speed}, "
        f"two at a time on {os.cpu_count()} cores that other work shared; {versions}, Python "
        f"{platform.python_version()}.{reasons}\n\n{_HOW}{_plain_steps(runs)}"
    )


def _plain_steps(runs: pandas.DataFrame) -> str:
    """What came out of tuning the plain student's number of steps."""
    plain = runs[runs["method"] == PLAIN]
    chosen = {kind: ", ".join(sorted(set(group["steps"]))) for kind, group in plain.groupby("modality")}
    tried = ", ".join(str(steps) for steps in sorted([STEPS, *OTHER_STEPS]))
    named = "; ".join(f"{kind} rows: {steps}" for kind, steps in chosen.items())
    return f"\nThe plain student's number of steps was chosen like its rate, from {tried}: {named}.\n"


def goals_table(runs: pandas.DataFrame, scores: pandas.DataFrame) -> str:
    return table(
        ["goal", "measured", ""],
        [[goal.text, goal.measured, goal.verdict] for goal in goals(runs, scores)],
    )


def cells_table(runs: pandas.DataFrame, scores: pandas.DataFrame) -> str:
    best, chosen = best_controls(runs), chosen_by(scores, runs)
    rows = []
    for cell in sorted(runs["cell"].unique(), key=_place):
        mine = runs[runs["cell"] == cell]
        default = mine[(mine["method"] == DEFAULT) & mine["cross"]]
        picked = chosen[chosen["cell"] == cell] if len(chosen) else chosen
        controls = [estimate(mine[mine["method"] == method]) for method in CONTROLS if method != PLAIN]
        seeds = default["seed"].unique()
        plain = mine[(mine["method"] == PLAIN) & mine["seed"].isin(seeds)]["accuracy"]
        rows.append(
            [
                cell, len(seeds), f"{plain.mean():.1f}", estimate(default), estimate(picked),
                *(f"{change.value:+.1f}" if change.pairs else "" for change in controls), best.get(cell, ""),
            ]
        )  # fmt: skip
    header = ["cell", "seeds", "plain", "default, cross-task", "default, by the selector"]
    return table([*header, *CONTROLS[1:], "best control"], rows)


def _place(cell: str) -> int:
    names = [str(cell) for cell in CELLS]
    return names.index(cell) if cell in names else len(names)


def comparable(runs: pandas.DataFrame) -> pandas.DataFrame:
    """The part on which methods can be compared: detailed cells, teachers of another task that all methods had."""
    cells, teachers = [str(cell) for cell in DETAILED], {name for kind in FEWEST.values() for name in kind}
    part = runs[runs["cell"].isin(cells)]
    return part[part["method"].isin(CONTROLS) | (part["teacher"].isin(teachers) & part["cross"])]


def methods_table(runs: pandas.DataFrame) -> str:
    part = comparable(runs)
    rows = []
    for method in dict.fromkeys((*METHODS, *CONTROLS[1:], *sorted(part["method"].unique()))):
        mine = part[part["method"] == method]
        if mine.empty or method == PLAIN:
            continue
        name, worst = worst_teacher(part, method) if method not in CONTROLS else ("", None)
        rows.append(
            [
                method, len(mine), f"{mine['accuracy'].mean():.1f}", estimate(mine), over_best_control(part, method),
                "" if worst is None else f"{name}: {worst}",
            ]
        )  # fmt: skip
    header = ["method", "runs", "accuracy", "gain over plain", "over the best control", "worst teacher"]
    return table(header, rows)


def teachers_table(runs: pandas.DataFrame) -> str:
    imbalanced = runs["cell"] == str(IMBALANCED)
    balanced, other = per_teacher(runs[~imbalanced]), per_teacher(runs[imbalanced])
    ordered = sorted(balanced, key=lambda names: (names[0], -balanced[names].value))
    rows = [[*names, _counted(balanced[names]), _counted(other.get(names))] for names in ordered]
    return table(["rows", "teacher", "balanced", "imbalanced"], rows)


def _counted(change: Estimate | None) -> str:
    return "" if change is None else f"{change}, {change.pairs} pairs"


PAIRS = (
    (DEFAULT, "probe"),
    (DEFAULT, "transport, empirical"),
    ("inverted projection", "traditional projection"),
    ("transport, empirical", "label map"),
    ("spectral", PLAIN),
    ("spectral", "bss"),
    ("bss", PLAIN),
)


def pairs_table(runs: pandas.DataFrame) -> str:
    cross = runs[runs["cross"]]
    comparisons = [(first, second, against(cross, first, second)) for first, second in PAIRS]
    rows = [
        [f"{first} minus {second}", both, both.cells, both.pairs] for first, second, both in comparisons if both.pairs
    ]
    return table(["paired difference, cross-task", "points", "cells", "cells x seeds"], rows)


def longer_table(runs: pandas.DataFrame, longer: pandas.DataFrame) -> str:
    """Accuracies and gains at the tuned number of steps and at its multiple, on the pairs that have both."""
    pair = ["method", "cell", "seed", "teacher"]
    both = pandas.DataFrame() if longer.empty else runs.merge(longer, on=pair, suffixes=("", "_longer"))
    rows = []
    for method in dict.fromkeys(both["method"]) if len(both) else ():
        mine = both[both["method"] == method]
        gains = estimate(mine), estimate(mine, "gain_longer")
        rows.append(
            [
                method, f"{gains[0].cells} x {gains[0].pairs / gains[0].cells:.2g}",
                *(f"{estimate(mine, name).value:.1f}" for name in ("accuracy", "accuracy_longer")),
                *(("", "") if method == PLAIN else gains),
            ]
        )  # fmt: skip
    header = ["method", "cells x seeds", "accuracy", "at 3 x steps", "gain over plain", "gain at 3 x steps"]
    return table(header, rows)


def agreement_table(runs: pandas.DataFrame, scores: pandas.DataFrame, spent: Sequence[Mapping[str, str]] = ()) -> str:
    """What each score tells of the outcomes, and what it costs.

    Args:
        runs: from `load_runs`.
        scores: from `load_scores`, with further scores.
        spent: rows of `score_costs.costs`; what it does not hold costs nothing.
    """
    rows = []
    for metric in dict.fromkeys(scores["metric"]) if len(scores) else ():
        found = agreement(scores, runs, metric)
        # The means of the other seeds order teachers as the means of all do.
        of_means = "" if metric == OTHER_SEEDS else _share(found.tau_of_means)
        regrets = (str(regret).replace("+", "") for regret in (found.regret, found.regret_of_three))
        rows.append([-found.tau.value, [metric, _share(found.tau), of_means, *regrets, *_spent(metric, spent)]])
    header = ["score", "weighted tau (95 % interval)", "of means over seeds", "top-1 regret, points"]
    ordered = [row for _, row in sorted(rows, key=lambda row: row[0])]
    return table([*header, "regret of the first three", "rows read", "MB", "seconds"], ordered)


def _share(tau: Estimate) -> str:
    return f"{tau.value / 100:.2f} ({tau.low / 100:.2f} to {tau.high / 100:.2f})"


def _spent(metric: str, spent: Sequence[Mapping[str, str]]) -> tuple[str, str, str]:
    """Rows that teachers read, megabytes of weights and processor seconds, over the cells that were measured."""
    if metric == OTHER_SEEDS:
        return "", "", ""
    mine = [entry for entry in spent if entry["metric"] == metric]
    rows, size, seconds = (sum(float(entry[name]) for entry in mine) for name in ("rows", "bytes", "seconds"))
    return f"{rows:,.0f}", f"{size / 1e6:.0f}", f"{seconds:.1f}"
