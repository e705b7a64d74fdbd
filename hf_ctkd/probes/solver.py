"""Multinomial logistic regression with a Gaussian prior on its weights: the solver behind `LinearProbe`."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

_LARGE = 20_000_000
_MEMORY = 10
_MOST_STEPS = 200
_TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-7}


@dataclass(frozen=True)
class Basis:
    """Rows in the coordinates of their own principal axes, where ridge problems have at most as many unknowns as rows.

    Args:
        rows: coordinates of the rows.
        axes: what maps centred and scaled features onto coordinates.
        mean: of the features.
        scale: of the features, all rows together having a mean squared length of about one.
    """

    rows: Float[Tensor, "rows rank"]
    axes: Float[Tensor, "width rank"]
    mean: Float[Tensor, " width"]
    scale: Float[Tensor, " width"]

    @classmethod
    def of(cls, features: Float[Tensor, "rows width"]) -> "Basis":
        """Standardise features and rotate them onto their principal axes."""
        features = features.double()
        mean = features.mean(dim=0)
        spread = (features - mean).square().mean(dim=0)
        # A feature that hardly varies is scaled by the typical spread, or it would be blown up to pure noise.
        scale = (spread + 0.01 * spread.mean() + 1e-30).sqrt() * features.shape[1] ** 0.5
        values = (features - mean) / scale
        wide = values.shape[1] > values.shape[0]
        power, vectors = torch.linalg.eigh(values @ values.T if wide else values.T @ values)
        significant = power > max(1e-9 * float(power[-1]), 1e-20)
        vectors, power = vectors[:, significant], power[significant]
        axes = values.T @ vectors / power.sqrt() if wide else vectors
        return cls(values @ axes, axes, mean, scale)


def fit_path(
    rows: Float[Tensor, "rows rank"],
    truth: Float[Tensor, "rows classes"],
    *,
    log_prior: Float[Tensor, " classes"],
    strengths: tuple[float, ...],
) -> list[Float[Tensor, "rank_and_one classes"]]:
    """Weights (last row: bias) for each ridge strength, strongest first, each fit starting at the one before.

    Maximises `sum_iv truth[i, v] log softmax(log_prior + evidence_i)[v] - strength / 2 * |weights|^2`.

    Args:
        rows: coordinates in a `Basis`.
        truth: mass of each class in each row; a row's sum is its weight.
        log_prior: added to the evidence of every row.
        strengths: ridge strengths in descending order.
    """
    inputs = torch.cat([rows, torch.ones(len(rows), 1, dtype=rows.dtype)], dim=1)
    truth = truth.to(rows.dtype)
    power = (truth.sum(dim=1, keepdim=True) * inputs.square()).sum(dim=0) / len(log_prior)
    weights = torch.zeros(inputs.shape[1], len(log_prior), dtype=rows.dtype)
    path = []
    for strength in strengths:
        weights = _fit(inputs, truth, log_prior, strength=strength, start=weights, power=power)
        path.append(weights)
    return path


def _fit(
    inputs: Float[Tensor, "rows inputs"],
    truth: Float[Tensor, "rows classes"],
    log_prior: Float[Tensor, " classes"],
    *,
    strength: float,
    start: Float[Tensor, "inputs classes"],
    power: Float[Tensor, " inputs"],
) -> Float[Tensor, "inputs classes"]:
    # Unknowns scaled to unit curvature: in principal axes this takes a few dozen steps where raw weights take hundreds.
    unit = (power + strength).rsqrt()[:, None]
    # Single precision is three times faster and ample for the tolerance below; small problems are fast anyway.
    precision = torch.float32 if inputs.numel() * start.shape[1] > _LARGE else torch.float64
    scaled, ridge = (inputs * unit.T).to(precision), (strength * unit.square()).to(precision)
    offset, target = log_prior.to(precision), truth.to(precision)
    mass = target.sum(dim=1, keepdim=True)

    def loss_and_gradient(flat: Tensor) -> tuple[float, Tensor]:
        weights = flat.view(start.shape)
        log_posterior = torch.addmm(offset, scaled, weights).log_softmax(dim=1)
        penalty = ridge * weights
        loss = 0.5 * (penalty * weights).sum(dtype=torch.float64) - (log_posterior * target).sum(dtype=torch.float64)
        return float(loss), penalty.addmm_(scaled.T, mass * log_posterior.exp() - target).view(-1)

    minimum = _minimise(loss_and_gradient, (start / unit).to(precision).view(-1))
    return minimum.double().view(start.shape) * unit


def _minimise(loss_and_gradient: Callable[[Tensor], tuple[float, Tensor]], point: Tensor) -> Tensor:
    """The minimum of a smooth convex function by L-BFGS (Nocedal and Wright, algorithm 7.4).

    Ours, as SciPy's goes through a second thread pool, which was measured to be ten times slower on a busy machine.
    """
    loss, gradient = loss_and_gradient(point)
    history: deque[tuple[Tensor, Tensor, float]] = deque(maxlen=_MEMORY)
    for _ in range(_MOST_STEPS):
        direction = _direction(gradient, history)
        slope = float(gradient.dot(direction))
        step = 1.0
        while True:
            moved = point + step * direction
            new_loss, new_gradient = loss_and_gradient(moved)
            if new_loss <= loss + 1e-4 * step * slope:
                break
            step /= 2
            if step < 1e-6:
                return point
        change, bend = moved - point, new_gradient - gradient
        curvature = float(change.dot(bend))
        if curvature > 0:
            history.append((change, bend, curvature))
        small = loss - new_loss <= _TOLERANCE[point.dtype] * max(abs(new_loss), 1.0)
        point, loss, gradient = moved, new_loss, new_gradient
        if small:
            break
    return point


def _direction(gradient: Tensor, history: Iterable[tuple[Tensor, Tensor, float]]) -> Tensor:
    """Minus the gradient times the inverse curvature that recent steps showed."""
    steps = list(history)
    direction = -gradient
    factors = []
    for change, bend, curvature in reversed(steps):
        factors.append(float(change.dot(direction)) / curvature)
        direction = direction - factors[-1] * bend
    if steps:
        _, bend, curvature = steps[-1]
        direction = direction * (curvature / float(bend.dot(bend)))
    for (change, bend, curvature), factor in zip(steps, reversed(factors), strict=True):
        direction = direction + change * (factor - float(bend.dot(direction)) / curvature)
    return direction
