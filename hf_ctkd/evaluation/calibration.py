"""Whether a student's probabilities mean what they say: expected calibration error, before and after a temperature."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.optimize import minimize_scalar
from sklearn.model_selection import KFold, StratifiedKFold

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records import Reliability
from hf_ctkd.tasks.reliability import log_losses, reliability

_LARGEST_LOG_TEMPERATURE = 5.0
_LEAST_ROWS = 20
"""With fewer rows a temperature is fitted to noise."""
_LEAST_A_CLASS = 2


@dataclass(frozen=True)
class Calibration:
    """Reliability before and after temperature scaling.

    Args:
        before: of the probabilities as they are.
        after: of probabilities with a temperature that was fitted to the other half of the rows; None with too few
            rows to fit one.
        temperature: fitted to all rows, to divide the student's logits by from now on; above 1 for a student that is
            too sure. None with too few rows, or where no temperature within the range of the search is the best.
    """

    before: Reliability
    after: Reliability | None = None
    temperature: float | None = None


def calibrate(
    logits: Float[ndarray, "rows classes"], labels: Int[ndarray, " rows"] | Float[ndarray, "rows classes"], *, seed: int
) -> Calibration:
    """Reliability of a classifier before and after temperature scaling, each half judged by the other's temperature.

    Use it for rows that the student was not trained on. With class ids the probability of the predicted class is
    judged, with a 0 or 1 for every class (several classes a row) every decision by itself.

    Args:
        logits: of the student.
        labels: class ids, or a 0 or 1 for every class.
        seed: of the halves, in [0, 2^32).

    Raises:
        InvalidArgumentError: if there are no rows, logits and labels do not fit each other, or a value is out of range.

    Reference:
        Guo et al., "On calibration of modern neural networks", ICML 2017, arXiv:1706.04599.

    Example:
        >>> generator = np.random.default_rng(0)
        >>> labels = generator.integers(3, size=600)
        >>> logits = 4 * (np.eye(3)[labels] + generator.normal(size=(600, 3)))  # four times too sure
        >>> result = calibrate(logits, labels, seed=0)
        >>> result.temperature > 2, result.after.error < result.before.error
        (True, True)
    """
    check_seed(seed)
    _check(logits, labels)
    logits = logits.astype(np.float64)
    before = reliability(logits, labels)
    if len(logits) < _LEAST_ROWS:
        return Calibration(before)
    scaled = np.empty_like(logits)
    for fitted, judged in _halves(labels, seed):
        scaled[judged] = logits[judged] / fit_temperature(logits[fitted], labels[fitted])
    temperature = fit_temperature(logits, labels)
    return Calibration(before, reliability(scaled, labels), temperature if _helps(temperature) else None)


def _helps(temperature: float) -> bool:
    """Whether it lies inside the range of the search: a student at chance has its least log loss at the end of it."""
    return abs(math.log(temperature)) < 0.99 * _LARGEST_LOG_TEMPERATURE


def fit_temperature(
    logits: Float[ndarray, "rows classes"], labels: Int[ndarray, " rows"] | Float[ndarray, "rows classes"]
) -> float:
    """The temperature with the least log loss, within e^-5 to e^5.

    Args:
        logits: of rows that are not judged with it.
        labels: class ids, or a 0 or 1 for every class.

    Raises:
        InvalidArgumentError: as for `calibrate`.
    """
    _check(logits, labels)
    fit = minimize_scalar(
        lambda log_temperature: float(log_losses(logits / np.exp(log_temperature), labels).mean()),
        bounds=(-_LARGEST_LOG_TEMPERATURE, _LARGEST_LOG_TEMPERATURE),
        method="bounded",
    )
    return float(np.exp(fit.x))


def check_seed(seed: int) -> None:
    """Refuse a seed that scikit-learn's splits cannot take.

    Args:
        seed: of an evaluation.

    Raises:
        InvalidArgumentError: if it is not in [0, 2^32).
    """
    if not 0 <= seed < 2**32:
        raise InvalidArgumentError(f"`seed` must be between 0 and {2**32 - 1}, got {seed}. Choose another.")


def _check(logits: ndarray, labels: ndarray) -> None:
    if len(logits) == 0 or len(logits) != len(labels) or (labels.ndim == 2 and labels.shape != logits.shape):
        raise InvalidArgumentError(
            f"`labels` must have an entry for each row of `logits`, 1 or more, got {labels.shape} for {logits.shape}. "
            "Give both of the same rows."
        )
    if not np.isfinite(logits).all():
        raise InvalidArgumentError("`logits` must be finite, but hold NaN or infinity. Train the student again.")
    most = logits.shape[1] - 1 if labels.ndim == 1 else 1
    if labels.min() < 0 or labels.max() > most:
        raise InvalidArgumentError(
            f"`labels` must lie between 0 and {most}, got {labels.min()} to {labels.max()}. Leave out rows without one."
        )


def _halves(labels: ndarray, seed: int) -> list[tuple[ndarray, ndarray]]:
    """Two halves, each class with its share in both where every class has two rows or more."""
    stratified = labels.ndim == 1 and np.unique(labels, return_counts=True)[1].min() >= _LEAST_A_CLASS
    folds = (StratifiedKFold if stratified else KFold)(n_splits=2, shuffle=True, random_state=seed)
    return list(folds.split(np.zeros(len(labels)), labels if stratified else None))
