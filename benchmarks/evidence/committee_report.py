"""The section on committees: what they recover of the gap, what each part adds, what asking fewer teachers costs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas

from benchmarks.evidence.analysis import NOTHING, RESAMPLES, Estimate, estimate
from benchmarks.evidence.committee import ARMS, CELLS, COMMITTEE, LOG_MEAN, MEMBERS, POOR, REFERENCE, SINGLE
from benchmarks.evidence.goals import Goal
from benchmarks.evidence.grid import PLAIN, STEPS
from benchmarks.evidence.report import table
from benchmarks.results_file import put

BEGIN, END = "<!-- committee:begin -->", "<!-- committee:end -->"
SAVED = 0.3
"""Share of the forward passes that is to be saved."""
RECOVERED = 73.0
"""Per cent of the gap that are to be recovered."""
SLOWDOWN = 1.25
"""Of a step with a committee of three whose outputs are kept, over a plain step."""
ASKING = ("committee, two of three asked", "committee, threshold 0.25")


def load(rows: Sequence[dict[str, str]]) -> pandas.DataFrame:
    """Finished runs, in per cent, with `cell`; failed ones are left out."""
    frame = pandas.DataFrame([row for row in rows if not row["error"]])
    if frame.empty:
        return frame
    frame["cell"] = frame["task"] + " @ " + frame["labels"].astype(str)
    frame["seed"] = frame["seed"].astype(int)
    for name in ("accuracy", "skipped"):
        frame[name] = 100 * pandas.to_numeric(frame[name], errors="coerce")
    return frame


def difference(frame: pandas.DataFrame, method: str, other: str) -> Estimate:
    """One arm minus another in points, paired by cell and seed."""
    joined = _pairs(frame, method, other)
    return NOTHING if joined.empty else estimate(joined.assign(gain=joined["one"] - joined["two"]))


def recovery(frame: pandas.DataFrame, method: str) -> Estimate:
    """Share of the gap between the plain student and the same-task teacher that a method closes, in per cent.

    The ratio of the mean gain to the mean gap, each a mean over cells of means over seeds: a mean of ratios would hang
    on the cell with the smallest gap. The interval resamples cells and, within each, seeds.
    """
    taught, reference = _pairs(frame, method, PLAIN), _pairs(frame, REFERENCE, PLAIN)
    joined = taught.merge(reference, on=["cell", "seed"], suffixes=("", "_reference"))
    if joined.empty:
        return NOTHING
    cells = [
        (group["one"] - group["two"], group["one_reference"] - group["two"]) for _, group in joined.groupby("cell")
    ]
    gains, gaps = ([cell[part].to_numpy() for cell in cells] for part in (0, 1))
    generator = np.random.default_rng(0)
    ratios = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        picked = generator.integers(len(cells), size=len(cells))
        seeds = [generator.integers(len(gains[cell]), size=len(gains[cell])) for cell in picked]
        gain = np.mean([gains[cell][rows].mean() for cell, rows in zip(picked, seeds, strict=True)])
        ratios[number] = gain / np.mean([gaps[cell][rows].mean() for cell, rows in zip(picked, seeds, strict=True)])
    low, high = 100 * np.percentile(ratios, [2.5, 97.5])
    value = 100 * np.mean([cell.mean() for cell in gains]) / np.mean([cell.mean() for cell in gaps])
    return Estimate(float(value), float(low), float(high), len(cells), len(joined))


def _pairs(frame: pandas.DataFrame, method: str, other: str) -> pandas.DataFrame:
    first, second = (frame[frame["method"] == name][["cell", "seed", "accuracy"]] for name in (method, other))
    return first.rename(columns={"accuracy": "one"}).merge(
        second.rename(columns={"accuracy": "two"}), on=["cell", "seed"], how="inner"
    )


def goals(frame: pandas.DataFrame, speed: pandas.DataFrame) -> list[Goal]:
    """What the issue asks to be shown, from the runs alone; *reached* goes by the mean unless it says otherwise."""
    reached = [
        _over(frame, COMMITTEE, SINGLE, "The committee is above the best single teacher on average"),
        _over(frame, COMMITTEE, LOG_MEAN, "The committee is above the log-mean of its members' probes"),
    ]
    closed = recovery(frame, COMMITTEE)
    text = f"The committee recovers {RECOVERED:.0f} % of the gap to the same-task teacher"
    reached.append(
        Goal(text, f"{closed.value:.0f} % ({closed.low:.0f} to {closed.high:.0f})", closed.value >= RECOVERED)
    )
    for method in ASKING:
        if method not in set(frame["method"]):
            reached.append(
                Goal(f"{SAVED:.0%} fewer passes of teachers at no loss beyond the interval: {method}", "", None)
            )
            continue
        saved = frame[frame["method"] == method]["skipped"].mean()
        cost = difference(frame, method, COMMITTEE)
        text = f"{SAVED:.0%} fewer passes of teachers at no loss beyond the interval: {method}"
        reached.append(Goal(text, f"{saved:.0f} % fewer, {cost} points", bool(saved >= 100 * SAVED and cost.high >= 0)))
    harm = difference(frame, "committee and poor teachers", COMMITTEE)
    text = "Adding poor teachers does no harm beyond the interval"
    reached.append(Goal(text, f"{harm} points", harm.high >= 0))
    for (modality, student), mine in speed.groupby(["modality", "student"]):
        ratio, size = slowdown(mine), mine["parameters"].max()
        text = (
            f"A step with a committee of three, outputs kept, takes at most {SLOWDOWN} plain steps ({modality}, "
            f"{student} student of {size:,} parameters)"
        )
        reached.append(Goal(text, f"{ratio:.2f}", ratio <= SLOWDOWN))
    return reached


def _over(frame: pandas.DataFrame, method: str, other: str, text: str) -> Goal:
    change = difference(frame, method, other)
    return Goal(text, f"{change} points", change.value > 0)


def slowdown(speed: pandas.DataFrame) -> float:
    """Median step of a committee over the median step of a plain student."""
    medians = speed.groupby("method")["milliseconds"].median()
    return float(medians[COMMITTEE] / medians[PLAIN])


def section(rows: Sequence[dict[str, str]], speed: pandas.DataFrame) -> str:
    """The whole section of `RESULTS.md`, between its markers."""
    frame, failed = load(rows), [row for row in rows if row["error"]]
    goal_rows = [[goal.text, goal.measured, goal.verdict] for goal in goals(frame, speed)]
    parts = [
        BEGIN,
        "## Committees\n",
        _introduction(frame, failed),
        "### Goals of the committee\n",
        "*Reached* goes by the mean: where the interval holds 0, the sign is not settled.\n",
        table(["goal", "measured", ""], goal_rows),
        "\n### By way of joining teachers\n",
        _ARMS_NOTE,
        arms_table(frame),
        "\n### By target task, accuracy\n",
        cells_table(frame),
        "\n### Who was chosen\n",
        members_table(frame),
        *(["\n### Speed of a step\n", _SPEED_NOTE, speed_table(speed)] if len(speed) else []),
        END,
    ]
    return "\n".join(parts) + "\n"


_ARMS_NOTE = (
    "Points over the plain student, share of the gap recovered, and points over the committee and over the best single "
    "teacher, all paired by cell and seed. *Passes saved*: rows that a teacher was not asked about. "
    "Where an arm has one seed or one cell its interval says nothing of seeds or of other cells.\n"
)
_SPEED_NOTE = (
    "Median processor time of single optimiser steps, the arms in turn; the committee's three teachers with their "
    "outputs kept. The suite's students have tens of thousands of parameters, so that a step is short beside any "
    "overhead; a student of one to two million parameters stands beside.\n"
)


def _introduction(frame: pandas.DataFrame, failed: Sequence[dict[str, str]]) -> str:
    reasons = "".join(
        f"\n- failed: {run['task']} @ {run['labels']}, {run['method']}, seed {run['seed']}: {run['error']}"
        for run in failed
    )
    poor = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in POOR.items())
    return (
        f"Written by `python -m benchmarks.evidence committee`: {len(frame)} runs, {len(failed)} failed, "
        f"{frame['cell'].nunique()} cells, {frame['seed'].nunique()} seeds, {STEPS} steps each (the "
        "plain student as many as were best on validation rows), the same students and rows as above. "
        f"A committee is {MEMBERS} teachers of other tasks that "
        "`TeacherSelector.select_committee` chooses on the labelled rows (filled up from its ranking where it stops "
        "earlier); the best single teacher is its first member, which the ranking puts first. The gap is that between "
        "the plain student and the *same-task teacher*: the zoo's teacher of the target's own labels, as it is, on the "
        "same test rows; no arm learns from it. Among the text teachers is one *foundation-model teacher*, a sentence "
        "encoder that others trained on a billion pairs of sentences; one arm does without it, on images the same "
        "committee. The committee's learning rate was tuned as every other arm's "
        "(`results/committee_tuning.json`), its other defaults, before the last changes to the losses, on validation "
        f"rows with seeds from 1000 on. Poor teachers: {poor}. Averaged KL does not apply, as no teacher shares the "
        "target's classes: the mean of label maps stands in its place, with the committee that is chosen among "
        "classifiers. In the interactive mode (texts "
        "only) the question enters a teacher as a token more, and its layers answer: at every step, since nothing of "
        f"an answer can be kept{_slower(frame)}. It is no part of the library.{reasons}\n"
    )


def _slower(frame: pandas.DataFrame) -> str:
    """How much longer a run of the interactive arm took, by the clock."""
    interactive = [name for name, arm in ARMS.items() if arm.interactive]
    numbers = frame.assign(seconds=pandas.to_numeric(frame["seconds"], errors="coerce"))
    seconds = numbers.dropna(subset="seconds")
    interactive, cached = (
        seconds[seconds["method"].isin(names) & (seconds["modality"] == "text")]["seconds"].median()
        for names in (interactive, [COMMITTEE])
    )
    return f", which made a run {interactive / cached:.0f} times as long" if interactive > 0 and cached > 0 else ""


def arms_table(frame: pandas.DataFrame) -> str:
    rows = []
    for method in (REFERENCE, *ARMS):
        mine = frame[frame["method"] == method]
        if mine.empty:
            continue
        closed, saved = recovery(frame, method), mine["skipped"].mean()
        rows.append(
            [
                method,
                f"{mine['cell'].nunique()} x {len(mine) / mine['cell'].nunique():.2g}",
                difference(frame, method, PLAIN),
                f"{closed.value:.0f} % ({closed.low:.0f} to {closed.high:.0f})",
                "" if method == COMMITTEE else difference(frame, method, COMMITTEE),
                "" if method == SINGLE else difference(frame, method, SINGLE),
                f"{saved:.0f} %" if saved > 0 else "",
            ]
        )
    header = [
        "arm",
        "cells x seeds",
        "gain",
        "gap recovered",
        "over the committee",
        "over the best single",
        "passes saved",
    ]
    return table(header, rows)


def cells_table(frame: pandas.DataFrame) -> str:
    methods = (PLAIN, REFERENCE, *list(ARMS)[:5])
    means = frame.groupby(["cell", "method"])["accuracy"].mean()
    rows = [
        [
            str(cell),
            *(f"{means[str(cell), method]:.1f}" if (str(cell), method) in means.index else "" for method in methods),
        ]
        for cell in CELLS
        if str(cell) in set(frame["cell"])
    ]
    return table(["cell", *methods], rows)


def members_table(frame: pandas.DataFrame) -> str:
    mine = frame[frame["method"] == COMMITTEE].sort_values(["cell", "seed"])
    return table(["cell", "seed", "members"], mine[["cell", "seed", "teachers"]].to_numpy().tolist())


def speed_table(speed: pandas.DataFrame) -> str:
    medians = speed.groupby(["modality", "student", "method"])["milliseconds"].median()
    rows = [
        [modality, student, method, f"{value:.1f}", f"{value / medians[modality, student, PLAIN]:.2f}"]
        for (modality, student, method), value in medians.items()
    ]
    return table(["rows", "student", "arm", "milliseconds", "plain steps"], rows)


def write(text: str, target: Path) -> None:
    """Put the section into a file, in place of the one that is there, or at its end."""
    put(text, BEGIN, END, target)
