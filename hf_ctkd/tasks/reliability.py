"""Whether probabilities mean what they say: expected calibration error and the bins that it is computed from."""

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.special import log_expit, log_softmax
from transformers import EvalPrediction

from hf_ctkd.records import RELIABILITY_BINS, Reliability, ReliabilityBin

_PART = 4096
"""Rows whose probabilities are held in double precision at a time."""


def reliability(
    logits: Float[ndarray, "rows classes"], labels: Int[ndarray, " rows"] | Float[ndarray, "rows classes"]
) -> Reliability:
    """Calibration error, log loss and bins of a classifier.

    With class ids the probability of the predicted class is judged, with a 0 or 1 for every class (several classes a
    row) every decision by itself.

    Args:
        logits: finite, of rows that the student was not trained on, 1 or more.
        labels: class ids, or a 0 or 1 for every class.

    Reference:
        Guo et al., "On calibration of modern neural networks", ICML 2017, arXiv:1706.04599.

    Example:
        >>> even = np.zeros((4, 2))  # probability one half for either class
        >>> reliability(even, np.array([0, 0, 0, 1])).error
        0.25
    """
    cuts = range(_PART, len(logits), _PART)
    parts = list(zip(np.split(logits, cuts), np.split(labels, cuts), strict=True))
    confidence, right = (np.concatenate(column) for column in zip(*(_decisions(*part) for part in parts), strict=True))
    numbers = np.minimum((confidence * RELIABILITY_BINS).astype(int), RELIABILITY_BINS - 1)
    bins = [
        ReliabilityBin(float(confidence[inside].mean()), float(right[inside].mean()), int(inside.sum()))
        for inside in (numbers == number for number in np.unique(numbers))
    ]
    # Guo et al., equation 3: the gap of each bin, weighted by its share of the decisions.
    error = sum(each.count * abs(each.confidence - each.accuracy) for each in bins) / len(confidence)
    log_loss = np.concatenate([log_losses(*part) for part in parts]).mean()
    return Reliability(float(error), float(log_loss), tuple(bins))


def reliability_of_labelled(prediction: EvalPrediction, labelled: Bool[ndarray, " rows"]) -> Reliability | None:
    """Reliability on the labelled rows of an evaluation; None without any, or where a logit is not finite.

    Args:
        prediction: logits and labels of all rows.
        labelled: which of them have a label.
    """
    logits, labels = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
    if not labelled.all():  # else nothing is copied
        logits, labels = logits[labelled], labels[labelled]
    return reliability(logits, labels) if len(logits) and np.isfinite(logits).all() else None


def log_losses(
    logits: Float[ndarray, "rows classes"], labels: Int[ndarray, " rows"] | Float[ndarray, "rows classes"]
) -> Float[ndarray, " losses"]:
    """Negative log-likelihood of each label in nats: one a row, or one for every class of a row.

    Args:
        logits: of the student.
        labels: class ids, or a 0 or 1 for every class.
    """
    logits = logits.astype(np.float64, copy=False)
    if labels.ndim == 1:
        return -log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
    return -(labels * log_expit(logits) + (1 - labels) * log_expit(-logits)).ravel()


def _decisions(
    logits: Float[ndarray, "rows classes"], labels: Int[ndarray, " rows"] | Float[ndarray, "rows classes"]
) -> tuple[Float[ndarray, " decisions"], Float[ndarray, " decisions"]]:
    """The probability of every decision, and a 1 for those that are right."""
    logits = logits.astype(np.float64, copy=False)
    if labels.ndim == 1:
        confidence = np.exp(log_softmax(logits, axis=1)).max(axis=1)
        return confidence, (logits.argmax(axis=1) == labels).astype(np.float64)
    return np.exp(log_expit(logits)).ravel(), labels.astype(np.float64).ravel()
