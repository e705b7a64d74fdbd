"""The dual objective whose maximum is the entropic optimum."""

import torch
from torch import Tensor

from hf_ctkd.ot.prepared import PreparedProblem


def centred(prepared: PreparedProblem, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Put the potentials in the gauge `<a, f> = <b, g>`, where they are free up to a constant."""
    if not prepared.balanced:
        return f, g
    shift = ((prepared.a * f).sum(-1, keepdim=True) - (prepared.b * g).sum(-1, keepdim=True)) / 2
    return f - shift, g + shift


def dual_value(prepared: PreparedProblem, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the value of every problem and its derivatives with respect to `a` and `b`.

    `g` must be the best answer to `f`, as after the update of the targets: then the plan's mass is known from `g`
    alone. An error in the potentials enters the value squared.
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
    """Compute a potential's term in the dual, and the ratio of the plan's marginal to the one asked for."""
    if tau is None:
        return potential, torch.ones_like(potential)
    scaled = -potential / tau[:, None]
    return -tau[:, None] * torch.expm1(scaled), scaled.exp()
