"""The section on the pretrained student: what a teacher adds where a pretrained encoder does most of the work."""

from collections.abc import Sequence
from pathlib import Path

import pandas

from benchmarks.evidence.analysis import NOTHING, Estimate
from benchmarks.evidence.goals import pretrained_goals
from benchmarks.evidence.grid import BATCH, DEFAULT, LONGER, PLAIN, STEPS
from benchmarks.evidence.pretrained_cell import (
    ALL,
    ARMS,
    CONTROL,
    LABELS,
    RATES,
    TASK,
    TUNING,
    TUNING_SEED,
    PretrainedCell,
    rates_of,
    rows_of,
    unpacked,
)
from benchmarks.evidence.readme import put
from benchmarks.evidence.report import table
from hf_ctkd.demo.comparison import paired_gain

BEGIN, END = "<!-- pretrained:begin -->", "<!-- pretrained:end -->"


def load(rows: Sequence[dict[str, str]]) -> pandas.DataFrame:
    """Finished runs with the right test rows of each as an array; failed ones are left out."""
    frame = pandas.DataFrame([row for row in rows if not row["error"]], columns=list(rows[0]) if rows else ["arm"])
    if frame.empty:
        return frame
    frame = frame.astype({"seed": int, "times": int, "accuracy": float, "test_rows": int, "seconds": float})
    pairs = zip(frame["correct"], frame["test_rows"], strict=True)
    return frame.assign(correct=[unpacked(text, count) for text, count in pairs])


def gain(frame: pandas.DataFrame, arm: str, other: str, labels: str, times: int = 1) -> Estimate:
    """One arm minus another in points over the seeds that both have; the interval resamples seeds and test rows.

    Args:
        frame: of runs.
        arm: one arm.
        other: that it is compared with.
        labels: of both.
        times: the multiple of the steps of both.
    """
    if frame.empty:
        return NOTHING
    part = frame[(frame["labels"] == labels) & (frame["times"] == times)]
    both = part[part["arm"] == arm].merge(part[part["arm"] == other], on="seed", suffixes=("", "_other"))
    if both.empty:
        return NOTHING
    outcome = paired_gain(both["correct"].tolist(), both["correct_other"].tolist())
    low, high = outcome.interval or (outcome.value, outcome.value)
    return Estimate(100 * outcome.value, 100 * low, 100 * high, 1, len(both))


def section(cell: PretrainedCell) -> str:
    """The whole section of `RESULTS.md`, between its markers."""
    rows = rows_of(cell)
    frame = load(rows)
    goals = pretrained_goals(
        gain(frame, DEFAULT, PLAIN, LABELS[0]),
        gain(frame, DEFAULT, CONTROL, LABELS[0]),
        gain(frame, DEFAULT, PLAIN, ALL),
    )
    parts = [
        BEGIN,
        "## A pretrained student\n",
        _introduction(frame, [row for row in rows if row["error"]], rates_of(cell)),
        "### Goals of the pretrained student\n",
        "*Reached* goes by the mean.\n",
        table(["goal", "measured", ""], [[goal.text, goal.measured, goal.verdict] for goal in goals]),
        "\n### By number of labels\n",
        _LABELS_NOTE,
        labels_table(frame),
        "\n### The pretrained student at three times the steps\n",
        f"{LABELS[0]} labels, the seeds that have both.\n",
        longer_table(frame),
        END,
    ]
    return "\n".join(parts) + "\n"


_LABELS_NOTE = (
    "Mean accuracy on test rows, and points over *plain* at the same labels, paired by seed. Where an arm has one "
    "seed, its interval says nothing of seeds. In brackets: how many seeds.\n"
)


def _introduction(frame: pandas.DataFrame, failed: Sequence[dict[str, str]], rates: dict[str, float] | None) -> str:
    reasons = "".join(
        f"\n- failed: {row['arm']}, {row['labels']} labels, seed {row['seed']}: {row['error']}" for row in failed
    )
    chosen = "; ".join(f"{arm} {rate:g}" for arm, rate in (rates or {}).items()) or "not tuned yet"
    tried = ", ".join(f"{rate:g}" for rate in RATES)
    seconds = f", median {frame['seconds'].median():.0f} s a run" if len(frame) else ""
    return (
        f"Written by `python -m benchmarks.evidence pretrained`: {len(frame)} runs, {len(failed)} failed{seconds}. The "
        "student is the first two layers of the sentence encoder all-MiniLM-L6-v2 under a fresh head, the teacher all "
        f"six; the task is {TASK} with {', '.join(LABELS)} labels (*all*: every training row but one). Every arm takes "
        f"{STEPS} steps of {BATCH['text']} rows. *Plain* and *LP-FT* train on labelled rows alone; *LP-FT* starts from "
        "a head that logistic regression fitted to the frozen features. *Own features* is the teacher-free control: "
        "the default's transport, read out of the student's own two frozen layers. Learning rates were tuned on "
        f"validation rows at {LABELS[0]} labels with seed {TUNING_SEED}, out of {tried} for every arm "
        f"(`results/{TUNING}`): {chosen}. Test rows chose nothing. Intervals are 95 % bootstrap intervals that "
        f"resample seeds and, within each, test rows.{reasons}\n"
    )


def labels_table(frame: pandas.DataFrame) -> str:
    """Arms x labels: accuracy and gain."""
    rows = []
    for arm in ARMS:
        row: list[object] = [arm]
        for labels in LABELS:
            change = NOTHING if arm == PLAIN else gain(frame, arm, PLAIN, labels)
            row += [_accuracy(frame, arm, labels), change if change.pairs else ""]
        rows.append(row)
    return table(["arm", *(name for labels in LABELS for name in (f"{labels} labels", "gain"))], rows)


def _accuracy(frame: pandas.DataFrame, arm: str, labels: str) -> str:
    part = frame[frame["arm"] == arm]
    if part.empty:
        return ""
    part = part[(part["labels"] == labels) & (part["times"] == 1)]
    return f"{100 * part['accuracy'].mean():.1f} ({len(part)})" if len(part) else ""


def longer_table(frame: pandas.DataFrame) -> str:
    """Accuracies and gains at the usual steps and at three times them, over the seeds that have both."""
    part = frame if frame.empty else frame[frame["labels"] == LABELS[0]]
    long_seeds = set() if part.empty else set(part[part["times"] == LONGER]["seed"])
    part = part if part.empty else part[part["seed"].isin(long_seeds)]
    rows = []
    for arm in ARMS:
        mine = part[part["arm"] == arm]
        if mine.empty:
            continue
        means = mine.groupby("times")["accuracy"].mean()
        gains = [gain(part, arm, PLAIN, LABELS[0], times) if arm != PLAIN else NOTHING for times in (1, LONGER)]
        rows.append(
            [
                arm,
                *(f"{100 * means[times]:.1f}" if times in means else "" for times in (1, LONGER)),
                *(change if change.pairs else "" for change in gains),
            ]
        )
    return table(["arm", "accuracy", "at 3 x steps", "gain over plain", "gain at 3 x steps"], rows)


def write(text: str, target: Path) -> None:
    """Put the section into a file, in place of the one that is there, or at its end."""
    put(text, BEGIN, END, target)
