"""Working form of a batch of problems, and the dual objective whose maximum is the entropic optimum."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from hf_ctkd.ot.plan import SAFE_EXPONENT
from hf_ctkd.ot.problem import OTProblem


@dataclass(frozen=True, eq=False)
class Work:
    """Problems made ready: one type, marginals that sum to one exactly, epsilon and tau in units of the cost.

    Args:
        cost: `[n, m]` shared, or `[batch, n, m]` with 0 where a marginal has no mass.
        a: marginal.
        b: marginal.
        scale: largest cost, `[1]` when shared, else `[batch]`.
        epsilon: `[batch]`.
        tau_a: `[batch]`; infinite where the marginal must be met.
        tau_b: `[batch]`.
    """

    cost: Float[Tensor, "*each n m"]
    a: Float[Tensor, "batch n"]
    b: Float[Tensor, "batch m"]
    scale: Float[Tensor, "costs"]
    epsilon: Float[Tensor, "batch"]
    tau_a: Float[Tensor, "batch"]
    tau_b: Float[Tensor, "batch"]

    @classmethod
    def of(cls, problem: OTProblem, epsilon: float | Tensor, *, tau_a: float, tau_b: float) -> "Work":
        """From a problem and the solver's settings, which are relative to the largest cost.

        Where epsilon is small the potentials need more digits than 32 bits have: such batches are solved in 64.
        """
        sharp = 1 / float(torch.as_tensor(epsilon).min()) > SAFE_EXPONENT
        dtype = torch.float64 if sharp else problem.dtype
        cost, a, b = (tensor.detach().to(dtype) for tensor in (problem.cost, problem.a, problem.b))
        a, b = a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True)
        if not problem.shared:
            # Zero mass is inert: what such entries cost must not even reach the scale.
            cost = torch.where((a > 0)[:, :, None] & (b > 0)[:, None, :], cost, 0.0)
        scale = cost.amax().view(1) if problem.shared else cost.amax((-1, -2))
        scale = torch.where(scale > 0, scale, 1.0)
        unit = scale.expand(len(a))
        return cls(cost, a, b, scale, unit * epsilon, unit * tau_a, unit * tau_b)

    def select(self, rows: Shaped[Tensor, "rows"] | slice) -> "Work":
        """Take some of the problems."""
        each = self.cost.dim() == 3
        return replace(
            self,
            cost=self.cost[rows] if each else self.cost,
            a=self.a[rows],
            b=self.b[rows],
            scale=self.scale[rows] if each else self.scale,
            epsilon=self.epsilon[rows],
            tau_a=self.tau_a[rows],
            tau_b=self.tau_b[rows],
        )

    def blocks(self, size: int) -> Iterator[slice]:
        """Slices of at most `size` problems."""
        return (slice(start, min(start + size, len(self.a))) for start in range(0, len(self.a), size))

    @property
    def sharpness(self) -> Float[Tensor, "batch"]:
        """Largest cost over epsilon: the range of the kernel's exponents."""
        return self.scale / self.epsilon

    def powers(self, epsilon: Float[Tensor, "batch"]) -> tuple[float | Tensor, float | Tensor]:
        """`tau / (tau + epsilon)` of both marginals: how far a step goes towards meeting them."""
        return _power(self.tau_a, epsilon), _power(self.tau_b, epsilon)

    def balanced(self) -> bool:
        """Whether both marginals must be met."""
        return bool(torch.isinf(self.tau_a[0])) and bool(torch.isinf(self.tau_b[0]))


def _power(tau: Tensor, epsilon: Tensor) -> float | Tensor:
    if math.isinf(float(tau[0])):
        return 1.0
    return (tau / (tau + epsilon))[:, None]


def centred(work: Work, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Put the potentials in the gauge `<a, f> = <b, g>`, where they are free up to a constant."""
    if not work.balanced():
        return f, g
    shift = ((work.a * f).sum(-1, keepdim=True) - (work.b * g).sum(-1, keepdim=True)) / 2
    return f - shift, g + shift


def dual_value(work: Work, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the value of every problem and its derivatives with respect to `a` and `b`.

    `g` must be the best answer to `f`, as after the update of the targets: then the plan's mass is known from `g`
    alone. An error in the potentials enters the value squared.
    """
    mass_a, mass_b = work.a.sum(-1, keepdim=True), work.b.sum(-1, keepdim=True)
    gain_a, ratio_a = _relaxed(f, work.tau_a)
    gain_b, ratio_b = _relaxed(g, work.tau_b)
    epsilon = work.epsilon[:, None]
    plan_mass = (work.b * ratio_b).sum(-1, keepdim=True)
    value = (work.a * gain_a).sum(-1) + (work.b * gain_b).sum(-1)
    value = value + (epsilon * (mass_a * mass_b - plan_mass))[:, 0]
    for_a = gain_a + epsilon * (mass_b - ratio_a)
    for_b = gain_b + epsilon * (mass_a - ratio_b)
    if work.balanced():
        # The marginals are divided by their sums: the derivative of that division.
        for_a = for_a - (work.a * for_a).sum(-1, keepdim=True)
        for_b = for_b - (work.b * for_b).sum(-1, keepdim=True)
    return value, for_a * (work.a > 0), for_b * (work.b > 0)


def _relaxed(potential: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
    """Compute a potential's term in the dual, and the ratio of the plan's marginal to the one asked for."""
    if math.isinf(float(tau[0])):
        return potential, torch.ones_like(potential)
    scaled = -potential / tau[:, None]
    return -tau[:, None] * torch.expm1(scaled), scaled.exp()
