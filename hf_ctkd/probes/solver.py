"""Multinomial logistic regression with a Gaussian prior on its weights: the solver behind `LinearProbe`."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from hf_ctkd.ot.precision import full_products
from hf_ctkd.probes.gram import gram

_LARGE = 4_000_000
"""Rows times unknowns from which on a fit is computed in single precision, and alone on a processor."""
_MEMORY = 10
_MOST_EVALUATIONS = 250
_LOOK = 4
"""Evaluations between two looks at whether all problems are done, each of which waits for an accelerator."""
_MOST_BYTES = 2**31
"""Of the problems of one batch."""
_TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-7}
"""Relative fall of the loss in one step below which a problem is done."""


@dataclass(frozen=True)
class Basis:
    """Rows in the coordinates of their own principal axes, where ridge problems have at most as many unknowns as rows.

    Args:
        rows: coordinates of the rows.
        axes: what maps centred and scaled features onto coordinates, in the order of growing variance.
        mean: of the features.
        scale: of the features, all rows together having a mean squared length of about one.
    """

    rows: Float[Tensor, "rows rank"]
    axes: Float[Tensor, "width rank"]
    mean: Float[Tensor, " width"]
    scale: Float[Tensor, " width"]

    @classmethod
    def of(cls, features: Float[Tensor, "rows width"], max_axes: int | None = None) -> "Basis":
        """Standardise features and rotate them onto their principal axes.

        Args:
            features: of the rows.
            max_axes: axes that are kept at most, those along which the rows vary most; None for all.
        """
        features = features.double()
        mean = features.mean(dim=0)
        spread = (features - mean).square().mean(dim=0)
        # A feature that hardly varies is scaled by the typical spread, or it would be blown up to pure noise.
        scale = (spread + 0.01 * spread.mean() + 1e-30).sqrt() * features.shape[1] ** 0.5
        values = (features - mean) / scale
        wide = values.shape[1] > values.shape[0]
        product = gram(values.T) if wide else gram(values)
        if max_axes is not None and len(product) > max_axes:
            # The largest axes are exact enough in single precision, which takes half of the time.
            power, vectors = (part[..., -max_axes:].double() for part in torch.linalg.eigh(product.float()))
        else:
            power, vectors = torch.linalg.eigh(product)
        significant = power > max(1e-9 * float(power[-1]), 1e-20)
        vectors, power = vectors[:, significant], power[significant]
        axes = values.T @ vectors / power.sqrt() if wide else vectors
        return cls(values @ axes, axes, mean, scale)

    def standardise(self, features: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """Features, centred and scaled as those of the basis were."""
        return (features.double() - self.mean) / self.scale


def fit_path(
    rows: Float[Tensor, "rows rank"],
    truth: Float[Tensor, "rows classes"],
    *,
    log_prior: Float[Tensor, " classes"],
    strengths: tuple[float, ...],
) -> list[Float[Tensor, "rank_and_one classes"]]:
    """Weights (last row: bias) of one problem for each ridge strength; see `fit_paths`.

    Args:
        rows: coordinates in a `Basis`.
        truth: mass of each class in each row; a row's sum is its weight.
        log_prior: added to the evidence of every row.
        strengths: ridge strengths in descending order.
    """
    return [
        weights[0] for weights in fit_paths(rows[None], truth[None], log_prior=log_prior[None], strengths=strengths)
    ]


def fit_paths(
    rows: Float[Tensor, "problems rows rank"],
    truth: Float[Tensor, "problems rows classes"],
    *,
    log_prior: Float[Tensor, "problems classes"],
    strengths: tuple[float, ...],
) -> Iterator[Float[Tensor, "problems rank_and_one classes"]]:
    """Weights (last row: bias) for each ridge strength, strongest first, each fit starting at the one before.

    Maximises `sum_iv truth[i, v] log softmax(log_prior + evidence_i)[v] - strength / 2 * |weights|^2` for each problem,
    all in one batch where they are small or on a GPU. Large ones are computed in float32, on a GPU where there is one:
    the likelihood of rows that were not fitted is exact to about 1e-4 of its size. A strength is fitted when its
    weights are asked for.

    Args:
        rows: coordinates in a `Basis`.
        truth: mass of each class in each row; a row's sum is its weight, and a row of zeros does not count.
        log_prior: added to the evidence of every row.
        strengths: ridge strengths in descending order.
    """
    inputs = torch.cat([rows, rows.new_ones(*rows.shape[:2], 1)], dim=2)
    large = inputs[0].numel() * truth.shape[2] > _LARGE
    device = torch.device("cuda") if large and torch.cuda.is_available() else rows.device
    # Single precision is three times faster and ample for its tolerance; small problems are fast anyway.
    dtype = torch.float32 if large else torch.float64
    alone = large and device.type == "cpu"
    size = 1 if alone else max(1, _MOST_BYTES // (4 * rows.shape[1] * (inputs.shape[2] + 4 * truth.shape[2])))
    parts = list(zip(inputs.split(size), truth.split(size), log_prior[:, None].split(size), strict=True))
    starts = [inputs.new_zeros(len(mass), inputs.shape[2], truth.shape[2]) for _, mass, _ in parts]
    for strength in strengths:
        with torch.no_grad(), torch.autocast(device.type, enabled=False), full_products():
            starts = [
                _fit(
                    *(part.to(device, dtype) for part in problem),
                    strength=strength,
                    start=start.to(device, dtype),
                    look=1 if alone else _LOOK,
                )
                for problem, start in zip(parts, starts, strict=True)
            ]
            weights = torch.cat(starts).double().to(rows.device)
        yield weights


def _fit(inputs: Tensor, truth: Tensor, offset: Tensor, *, strength: float, start: Tensor, look: int) -> Tensor:
    mass = truth.sum(dim=2, keepdim=True)
    # Unknowns scaled to unit curvature: in principal axes this takes a few dozen steps where raw weights take hundreds.
    power = (mass * inputs.square()).sum(dim=1) / truth.shape[2]
    unit = (power + strength).rsqrt()[:, :, None]
    scaled, ridge = inputs * unit.transpose(1, 2), strength * unit.square()
    transposed = scaled.transpose(1, 2)

    def loss_and_gradient(weights: Tensor) -> tuple[Tensor, Tensor]:
        log_posterior = torch.baddbmm(offset, scaled, weights).log_softmax(dim=2)
        penalty = ridge * weights
        loss = 0.5 * _dot(penalty, weights) - _dot(log_posterior, truth)
        residual = log_posterior.exp_().mul_(mass).sub_(truth)
        return loss, penalty.baddbmm_(transposed, residual)

    return _minimise(loss_and_gradient, start / unit, look=look) * unit


def _dot(left: Tensor, right: Tensor) -> Float[Tensor, " problems"]:
    """Inner products, summed in 64 bits."""
    return (left * right).sum(dim=(1, 2), dtype=torch.float64)


def _minimise(
    loss_and_gradient: Callable[[Tensor], tuple[Tensor, Tensor]],
    point: Float[Tensor, "problems inputs classes"],
    *,
    look: int,
) -> Float[Tensor, "problems inputs classes"]:
    """The minima of smooth convex functions by L-BFGS (Nocedal and Wright, algorithm 7.4), side by side.

    SciPy's was tried: it goes through a second thread pool, which was measured to be ten times slower on a busy
    machine, and takes one problem at a time. A problem that is done, or whose step has to be halved, waits for the
    others; nothing is read back but whether all are done.
    """
    loss, gradient = loss_and_gradient(point)
    history = _History()
    direction = -gradient
    step = torch.ones_like(loss)
    done = torch.zeros_like(loss, dtype=torch.bool)
    for number in range(1, _MOST_EVALUATIONS + 1):
        moved = point + direction * _each(step, direction)
        new_loss, new_gradient = loss_and_gradient(moved)
        falls = ~done & (new_loss <= loss + 1e-4 * step * _dot(gradient, direction))
        small = loss - new_loss <= _TOLERANCE[point.dtype] * new_loss.abs().clamp_min(1.0)
        history.add(_where(falls, moved - point, 0.0), _where(falls, new_gradient - gradient, 0.0))
        point, gradient = _where(falls, moved, point), _where(falls, new_gradient, gradient)
        loss = torch.where(falls, new_loss, loss)
        step = torch.where(falls, 1.0, step / 2)
        done = done | (falls & small) | (step < 1e-6)
        if number % look == 0 and bool(done.all()):
            break
        direction = _where(falls, history.direction(gradient), direction)
    return point


def _each(numbers: Float[Tensor, " problems"], like: Tensor) -> Float[Tensor, "problems 1 1"]:
    return numbers.to(like.dtype)[:, None, None]


def _where(condition: Tensor, chosen: Tensor, other: Tensor | float) -> Tensor:
    return torch.where(condition[:, None, None], chosen, other)


@dataclass
class _History:
    """The last steps, with the change of the gradient and its inverse curvature; no step where a problem made none."""

    steps: deque[tuple[Tensor, Tensor, Tensor]] = field(default_factory=lambda: deque(maxlen=_MEMORY))
    scale: Tensor | None = None

    def add(self, change: Tensor, bend: Tensor) -> None:
        """Remember a step where the curvature along it was positive."""
        curvature = _dot(change, bend)
        valid = curvature > 0
        inverse = torch.where(valid, 1 / curvature, 0.0)
        self.steps.append((change, bend, inverse))
        scale = torch.where(valid, curvature / _dot(bend, bend), 1.0 if self.scale is None else self.scale)
        self.scale = scale

    def direction(self, gradient: Tensor) -> Tensor:
        """Minus the gradient times the inverse curvature that the steps showed."""
        direction = -gradient
        factors = []
        for change, bend, inverse in reversed(self.steps):
            factors.append(inverse * _dot(change, direction))
            direction = torch.addcmul(direction, bend, _each(factors[-1], bend), value=-1)
        if self.scale is not None:
            direction = direction * _each(self.scale, direction)
        for (change, bend, inverse), factor in self._oldest_first(factors):
            direction = torch.addcmul(direction, change, _each(factor - inverse * _dot(bend, direction), change))
        return direction

    def _oldest_first(self, factors: list[Tensor]) -> Iterator[tuple[tuple[Tensor, Tensor, Tensor], Tensor]]:
        return zip(self.steps, reversed(factors), strict=True)
