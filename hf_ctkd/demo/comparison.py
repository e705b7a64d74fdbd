"""Gains over the student without a teacher, with intervals over test rows and seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hf_ctkd.records import Confidence, text_table

_RESAMPLES = 2000


@dataclass(frozen=True)
class Comparison:
    """How one kind of student does beside the one without a teacher.

    Args:
        name: of the student.
        accuracy: mean over seeds.
        gain: over the student without a teacher, with its interval; None for that one itself.
    """

    name: str
    accuracy: float
    gain: Confidence | None


def paired_gain(treated: Sequence[np.ndarray], control: Sequence[np.ndarray], *, seed: int = 0) -> Confidence:
    """Mean difference in accuracy, with a 95 % interval that resamples seeds and, within each, test rows.

    Args:
        treated: which test rows are right, `[rows]`, one array a seed.
        control: the same rows and seeds for the control.
        seed: of the resampling.

    Reference:
        Two-level bootstrap after Davison and Hinkley, "Bootstrap methods and their application", 1997, section 3.8.
    """
    differences = np.stack([t.astype(float) - c for t, c in zip(treated, control, strict=True)])
    generator = np.random.default_rng(seed)
    seeds, rows = differences.shape
    means = [
        np.mean([differences[chosen][generator.integers(rows, size=rows)].mean() for chosen in picked])
        for picked in generator.integers(seeds, size=(_RESAMPLES, seeds))
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return Confidence(float(differences.mean()), float(low), float(high))


def compare(correct: Mapping[str, Sequence[np.ndarray]], control: str) -> list[Comparison]:
    """Every kind of student beside the control.

    Args:
        correct: name -> one array of right test rows a seed.
        control: name of the student without a teacher.
    """
    return [
        Comparison(name, float(np.mean(runs)), None if name == control else paired_gain(runs, correct[control]))
        for name, runs in correct.items()
    ]


def comparison_table(rows: Sequence[Comparison]) -> str:
    """The comparison for the terminal, accuracies in per cent and gains in points."""
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
