"""The dual objective whose maximum is the entropic optimum."""

import torch
from torch import Tensor

from hf_ctkd.ot.work import Work


def centred(work: Work, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Put the potentials in the gauge `<a, f> = <b, g>`, where they are free up to a constant."""
    if not work.balanced:
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
    if work.balanced:
        # The marginals are divided by their sums: the derivative of that division.
        for_a = for_a - (work.a * for_a).sum(-1, keepdim=True)
        for_b = for_b - (work.b * for_b).sum(-1, keepdim=True)
    return value, for_a * (work.a > 0), for_b * (work.b > 0)


def _relaxed(potential: Tensor, tau: Tensor | None) -> tuple[Tensor, Tensor]:
    """Compute a potential's term in the dual, and the ratio of the plan's marginal to the one asked for."""
    if tau is None:
        return potential, torch.ones_like(potential)
    scaled = -potential / tau[:, None]
    return -tau[:, None] * torch.expm1(scaled), scaled.exp()
