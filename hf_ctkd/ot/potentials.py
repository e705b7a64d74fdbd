"""Dual potentials: where a solver ended, and the dual objective whose maximum is the entropic optimum."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.ot.problem import PreparedProblem


@dataclass(frozen=True, eq=False)
class Potentials:
    """Where a solver ended.

    Args:
        f: potential at the sources.
        g: potential at the targets, the best answer to `f`.
        error: L1 error of the marginals; NaN where the arithmetic gave out.
        steps: steps taken.
    """

    f: Float[Tensor, "batch n"]
    g: Float[Tensor, "batch m"]
    error: Float[Tensor, "batch"]
    steps: Int[Tensor, "batch"]


@dataclass(frozen=True, eq=False)
class Gathered:
    """The results of a batch, written block by block.

    Args:
        potentials: of all problems; NaN errors where none was written.
    """

    potentials: Potentials

    @classmethod
    def empty(cls, prepared: PreparedProblem) -> "Gathered":
        """Make room for every problem."""
        steps = torch.zeros(len(prepared.a), dtype=torch.int64, device=prepared.a.device)
        error = torch.full_like(prepared.epsilon, torch.nan)
        return cls(Potentials(torch.empty_like(prepared.a), torch.empty_like(prepared.b), error, steps))

    def write(self, rows: Int[Tensor, "rows"], results: Potentials) -> None:
        """Write the results of some problems."""
        whole = self.potentials
        whole.f[rows], whole.g[rows] = results.f, results.g
        whole.error[rows], whole.steps[rows] = results.error, results.steps

    def read(self, rows: Int[Tensor, "rows"]) -> Potentials:
        """Take the results of some problems."""
        whole = self.potentials
        return Potentials(whole.f[rows], whole.g[rows], whole.error[rows], whole.steps[rows])

    def unfinished(self, tolerance: float, steps: int) -> Int[Tensor, "rows"]:
        """Indices of the problems with a NaN error, and of those above the tolerance that have steps left."""
        whole = self.potentials
        return (whole.error.isnan() | ((whole.error > tolerance) & (whole.steps < steps))).nonzero()[:, 0]


def centred(prepared: PreparedProblem, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Put the potentials in the gauge `<a, f> = <b, g>`, where they are free up to a constant."""
    if not prepared.balanced:
        return f, g
    shift = ((prepared.a * f).sum(-1, keepdim=True) - (prepared.b * g).sum(-1, keepdim=True)) / 2
    return f - shift, g + shift


def dual_value(prepared: PreparedProblem, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the value of every problem and its derivatives with respect to `a` and `b`.

    Peyré and Cuturi, Proposition 4.4: `<a, f> + <b, g> - epsilon (mass of the plan - mass of a b^T)`; a relaxed
    marginal has `-tau (exp(-f / tau) - 1)` in the place of `f` (their Section 10.2). `g` must be the best answer to
    `f`, as after the update of the targets: then the plan's mass follows from `g` alone. An error in the potentials
    enters the value squared.
    """
    mass_a, mass_b = prepared.a.sum(-1, keepdim=True), prepared.b.sum(-1, keepdim=True)
    gain_a, ratio_a = _relaxed(f, prepared.tau_a)
    gain_b, ratio_b = _relaxed(g, prepared.tau_b)
    epsilon = prepared.epsilon[:, None]
    plan_mass = (prepared.b * ratio_b).sum(-1, keepdim=True)
    value = (prepared.a * gain_a).sum(-1) + (prepared.b * gain_b).sum(-1)
    value = value + (epsilon * (mass_a * mass_b - plan_mass))[:, 0]
    for_a = gain_a + epsilon * (mass_b - ratio_a)
    for_b = gain_b + epsilon * (mass_a - ratio_b)
    if prepared.balanced:
        # The marginals are divided by their sums: the derivative of that division.
        for_a = for_a - (prepared.a * for_a).sum(-1, keepdim=True)
        for_b = for_b - (prepared.b * for_b).sum(-1, keepdim=True)
    return value, for_a * (prepared.a > 0), for_b * (prepared.b > 0)


def _relaxed(potential: Tensor, tau: Tensor | None) -> tuple[Tensor, Tensor]:
    """Compute a potential's term in the dual, and the ratio of the plan's marginal to the required one."""
    if tau is None:
        return potential, torch.ones_like(potential)
    scaled = -potential / tau[:, None]
    return -tau[:, None] * torch.expm1(scaled), scaled.exp()
