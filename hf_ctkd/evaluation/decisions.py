"""From the logits of a student to the label and the score of every row."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.special import expit, softmax

from hf_ctkd.tasks.base import ProblemType

SEPARATOR = "; "
"""Between the classes of a row that has several."""


@dataclass(frozen=True, eq=False)
class Decisions:
    """What a student says of every row.

    Args:
        labels: name of the class; of several classes, their names with `SEPARATOR` between them, "" for none; the
            estimate as text for a number.
        scores: probability of that class, or of the likeliest class of several; the estimate itself for a number.
        all_scores: probability of every class `[rows, classes]`, or the estimates `[rows, 1]`.
    """

    labels: tuple[str, ...]
    scores: Float[ndarray, " rows"]
    all_scores: Float[ndarray, "rows classes"]

    @classmethod
    def of(cls, logits: Float[ndarray, "rows classes"], problem: ProblemType, names: Sequence[str]) -> "Decisions":
        """From logits, as pipelines of transformers choose softmax, sigmoid or neither by the problem type.

        Args:
            logits: of the student.
            problem: of the student's configuration.
            names: of its classes.

        Example:
            >>> decisions = Decisions.of(np.array([[0.0, 2.0]]), "single_label_classification", ["cat", "dog"])
            >>> decisions.labels, decisions.scores.round(2).tolist()
            (('dog',), [0.88])
        """
        logits = logits.astype(np.float64)
        if problem == "regression":
            return cls(tuple(f"{value:.6g}" for value in logits[:, 0]), logits[:, 0], logits)
        if problem == "multi_label_classification":
            scores = expit(logits)
            labels = tuple(SEPARATOR.join(_chosen(row > 0.5, names)) for row in scores)
            return cls(labels, scores.max(axis=1), scores)
        scores = softmax(logits, axis=1)
        return cls(tuple(names[number] for number in scores.argmax(axis=1)), scores.max(axis=1), scores)


def label_texts(labels: ndarray, problem: ProblemType, names: Sequence[str]) -> tuple[str, ...]:
    """The labels of rows as `Decisions.labels` has them.

    Args:
        labels: class ids, a 0 or 1 for every class, or numbers `[rows, 1]`.
        problem: of the student's configuration.
        names: of the classes.
    """
    if problem == "regression":
        return tuple(f"{value:.6g}" for value in labels[:, 0])
    if problem == "multi_label_classification":
        return tuple(SEPARATOR.join(_chosen(row > 0, names)) for row in labels)
    return tuple(names[number] for number in labels)


def _chosen(given: ndarray, names: Sequence[str]) -> list[str]:
    return [name for name, is_given in zip(names, given, strict=True) if is_given]
