"""From the table of runs to paired differences with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas

from benchmarks.evidence.generic.design import PLAIN

RESAMPLES = 5000


@dataclass(frozen=True)
class Difference:
    """One arm minus another over the same students and seeds, in points of test accuracy.

    Args:
        value: mean.
        low: lower end of the 95 % interval.
        high: upper end.
        improved: share of the students whose mean over seeds is above zero, in [0, 1].
        students: how many.
        seeds: how many; every seed has its own teachers.
        worst: the student with the lowest mean.
        lowest: this mean.
    """

    value: float
    low: float
    high: float
    improved: float
    students: int
    seeds: int
    worst: str
    lowest: float

    def __str__(self) -> str:
        return f"{self.value:+.2f} ({self.low:+.2f} to {self.high:+.2f})"


def load(rows: Sequence[dict[str, str]]) -> pandas.DataFrame:
    """Finished runs, accuracies in per cent."""
    frame = pandas.DataFrame([row for row in rows if not row["error"]])
    if frame.empty:
        return frame
    for name in ("accuracy", "validation_accuracy"):
        frame[name] = 100 * frame[name].astype(float)
    for name in ("seconds", "processor_seconds", "parameters"):
        frame[name] = frame[name].astype(float)
    return frame.assign(seed=frame["seed"].astype(int), steps=frame["steps"].astype(int))


def students(frame: pandas.DataFrame, arm: str, names: Sequence[str] | None = None) -> pandas.DataFrame:
    """Test accuracy of an arm, one row a student and one column a seed."""
    mine = frame[(frame["kind"] == "student") & (frame["arm"] == arm)]
    if names is not None:
        mine = mine[mine["student"].isin(names)]
    return mine.pivot_table(index="student", columns="seed", values="accuracy")


def difference(
    frame: pandas.DataFrame, arm: str, other: str = PLAIN, names: Sequence[str] | None = None
) -> Difference | None:
    """One arm minus another where both have all students and seeds; None without any in common.

    The interval resamples students and, crossed with them, seeds: all students of a seed share a teacher, so that a
    resampling of single runs would be too narrow. With three seeds it is a rough one.
    """
    gains, other_gains = students(frame, arm, names), students(frame, other, names)
    if gains.empty or other_gains.empty:
        return None
    table = (gains - other_gains).dropna(axis=1, how="all").dropna(axis=0)
    if table.empty:
        return None
    values = table.to_numpy()
    rows, columns = values.shape
    generator = np.random.default_rng(0)
    drawn_rows = generator.integers(rows, size=(RESAMPLES, rows, 1))
    drawn_columns = generator.integers(columns, size=(RESAMPLES, 1, columns))
    low, high = np.percentile(values[drawn_rows, drawn_columns].mean(axis=(1, 2)), [2.5, 97.5])
    means = table.mean(axis=1)
    return Difference(
        float(values.mean()), float(low), float(high), float((means > 0).mean()), rows, columns,
        str(means.idxmin()), float(means.min()),
    )  # fmt: skip


def teachers(frame: pandas.DataFrame) -> pandas.DataFrame:
    """Each arm's teachers: mean test accuracy, steps and times, and how many there are."""
    mine = frame[frame["kind"] == "teacher"]
    return mine.groupby("arm").agg(
        accuracy=("accuracy", "mean"), steps=("steps", "mean"), seconds=("seconds", "mean"),
        processor=("processor_seconds", "mean"), count=("accuracy", "size"),
    )  # fmt: skip
