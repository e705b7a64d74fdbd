"""Accuracy gains over the student without a teacher, with intervals over test rows and seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hf_ctkd.records import Confidence, text_table

_RESAMPLES = 2000


@dataclass(frozen=True)
class Comparison:
    """Accuracy of one kind of student, and its gain over the control.

    Args:
        name: name of the kind of student.
        accuracy: mean over seeds, in [0, 1].
        gain: difference in accuracy to the control, with its interval; None for the control.
    """

    name: str
    accuracy: float
    gain: Confidence | None


def paired_gain(treated: Sequence[np.ndarray], control: Sequence[np.ndarray], *, seed: int = 0) -> Confidence:
    """Mean difference in accuracy, with a 95 % interval that resamples seeds and, within each, test rows.

    Args:
        treated: for each seed, whether each test row is predicted correctly, `[rows]`.
        control: the same for the control, on the same rows and seeds.
        seed: of the resampling.

    Reference:
        Two-level bootstrap after Davison and Hinkley, "Bootstrap methods and their application", 1997, section 3.8.
    """
    differences = np.stack([run.astype(float) - base for run, base in zip(treated, control, strict=True)])
    generator = np.random.default_rng(seed)
    seeds, rows = differences.shape
    means = [
        np.mean([differences[index][generator.integers(rows, size=rows)].mean() for index in drawn_seeds])
        for drawn_seeds in generator.integers(seeds, size=(_RESAMPLES, seeds))
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return Confidence(float(differences.mean()), float(low), float(high))


def compare(correct: Mapping[str, Sequence[np.ndarray]], control: str) -> list[Comparison]:
    """Compare every kind of student with the control.

    Args:
        correct: from the name of a kind of student to one array per seed, see `paired_gain`.
        control: name of the student without a teacher.
    """
    return [
        Comparison(name, float(np.mean(runs)), None if name == control else paired_gain(runs, correct[control]))
        for name, runs in correct.items()
    ]


def comparison_table(rows: Sequence[Comparison]) -> str:
    """The comparison as a text table, accuracies in per cent and gains in percentage points."""
    header = ["student", "accuracy %", "gain, points", "95 % interval"]
    body = [
        [
            row.name,
            f"{100 * row.accuracy:.1f}",
            "" if row.gain is None else f"{100 * row.gain.value:+.1f}",
            _interval(row.gain),
        ]
        for row in rows
    ]
    return text_table(header, body)


def _interval(gain: Confidence | None) -> str:
    if gain is None or gain.interval is None:
        return ""
    low, high = gain.interval
    return f"{100 * low:+.1f} to {100 * high:+.1f}"
