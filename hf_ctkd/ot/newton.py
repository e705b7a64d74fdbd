"""Newton steps on the dual, for the problems on which scaling creeps."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hf_ctkd.ot.potentials import Potentials, dual_value
from hf_ctkd.ot.problem import PreparedProblem

_LONGEST = 4.0
"""Largest change of a potential in one step, in units of epsilon: further off the quadratic model says nothing."""
_RIDGE = 1e-12
"""Keeps the scaled system solvable where groups of bins exchange next to no mass."""


@dataclass(frozen=True, eq=False)
class _Point:
    """A pair of potentials, the second the best answer to the first, with their plan and what it lacks."""

    f: Tensor
    g: Tensor
    plan: Tensor
    target_a: Tensor
    target_b: Tensor
    value: Tensor
    error: Tensor

    @classmethod
    def at(cls, prepared: PreparedProblem, f: Tensor) -> "_Point":
        epsilon = prepared.epsilon[:, None]
        exponent = (f[:, :, None] - prepared.cost).div_(epsilon[:, :, None]).add_(prepared.a.log()[:, :, None])
        log_sums = torch.logsumexp(exponent, 1)
        g = -prepared.powers(prepared.epsilon)[1] * epsilon * log_sums
        plan = exponent.add_((g / epsilon + prepared.b.log())[:, None, :]).exp_()
        target_a, target_b = (
            mass if tau is None else mass * torch.exp(-potential / tau[:, None])
            for mass, potential, tau in ((prepared.a, f, prepared.tau_a), (prepared.b, g, prepared.tau_b))
        )
        error = (plan.sum(2) - target_a).abs().sum(1)
        return cls(f, g, plan, target_a, target_b, dual_value(prepared, f, g)[0], error)


def newton(prepared: PreparedProblem, start: Potentials, tolerance: float, *, steps: int) -> Potentials:
    """Take Newton steps where the error is above the tolerance; one that does not help is tried again, shorter.

    Scaling is coordinate ascent on the dual: where groups of bins are all but separate, as happens at a small
    epsilon, the mass between them moves by a ten thousandth of what is missing in each step. A Newton step costs a plan
    and a linear system of the smaller side, and does not care.

    Args:
        prepared: the problems, each with its cost or all with one.
        start: where scaling came to.
        tolerance: marginal error to reach.
        steps: Newton steps to take.

    Reference:
        Brauer, Clason, Lorenz, Wirth, "A Sinkhorn-Newton method for entropic optimal transport", 2017.
    """
    point = _Point.at(prepared, start.f)
    counts, length = start.steps, torch.ones_like(prepared.epsilon)
    for _ in range(steps):
        running = point.error > tolerance
        other = _Point.at(prepared, point.f + (prepared.epsilon * length)[:, None] * _direction(prepared, point))
        better = running & _helps(point, other, prepared.scale)
        length = torch.where(better, (2 * length).clamp(max=1), length / 4)
        point = _Point(*(_chosen(better, new, old) for new, old in zip(_parts(other), _parts(point), strict=True)))
        counts = counts + running
    return replace(start, f=point.f, g=point.g, error=point.error, steps=counts)


def _parts(point: _Point) -> tuple[Tensor, ...]:
    return point.f, point.g, point.plan, point.target_a, point.target_b, point.value, point.error


def _chosen(better: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(better.view(-1, *[1] * (new.dim() - 1)), new, old)


def _helps(old: _Point, new: _Point, scale: Tensor) -> Tensor:
    """The dual grows; or, where that is lost in rounding, the error falls."""
    gain = (new.value - old.value) / scale
    noise = 64 * torch.finfo(gain.dtype).eps
    return torch.isfinite(new.error) & ((gain > noise) | ((gain > -noise) & (new.error < old.error)))


def _direction(prepared: PreparedProblem, point: _Point) -> Tensor:
    """Change of `f` in units of epsilon, from the Newton system with `g` eliminated, or the other way round."""
    ratio_a = 0.0 if prepared.tau_a is None else (prepared.epsilon / prepared.tau_a)[:, None]
    ratio_b = 0.0 if prepared.tau_b is None else (prepared.epsilon / prepared.tau_b)[:, None]
    rows, columns = point.plan.sum(2), point.plan.sum(1)
    diagonal_a, diagonal_b = rows + ratio_a * point.target_a, columns + ratio_b * point.target_b
    lack_a, lack_b = point.target_a - rows, point.target_b - columns
    if rows.shape[1] <= columns.shape[1]:
        x = _eliminated(point.plan, diagonal_a, diagonal_b, lack_a, lack_b)
    else:
        y = _eliminated(point.plan.transpose(1, 2), diagonal_b, diagonal_a, lack_b, lack_a)
        x = _over(lack_a - torch.einsum("bnm,bm->bn", point.plan, y), diagonal_a)
    if prepared.balanced:
        x = x - (prepared.a * x).sum(1, keepdim=True)  # free up to a constant, and near that the system is all rounding
    longest = torch.where(prepared.a > 0, x.abs(), 0.0).amax(1, keepdim=True)
    return x * (_LONGEST / longest.clamp(min=_LONGEST))


def _eliminated(plan: Tensor, diagonal: Tensor, other: Tensor, lack: Tensor, lack_other: Tensor) -> Tensor:
    """Solve `diagonal x + plan y = lack`, `plan^T x + other y = lack_other` for `x`."""
    inverse = _over(torch.ones_like(other), other)
    half = plan * inverse.sqrt()[:, None, :]
    right = lack - torch.einsum("bnm,bm->bn", plan, inverse * lack_other)
    # Scaled by the diagonal, so that faint entries count as much as heavy ones.
    root = _over(torch.ones_like(diagonal), diagonal).sqrt()
    half = half * root[:, :, None]
    system = torch.eye(len(lack[0]), dtype=lack.dtype, device=lack.device) * (1 + _RIDGE) - half @ half.transpose(1, 2)
    return root * torch.linalg.solve_ex(system, root * right)[0]


def _over(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide, 0 where there is no mass."""
    return torch.where(denominator > 0, numerator / denominator, 0.0)
