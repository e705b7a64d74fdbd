"""The gradient of an entropic optimum, from its potentials and its plan (envelope theorem)."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from hf_ctkd.ot.plan import Plan


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """What the backward pass needs.

    Args:
        plan: the solved plans.
        a: derivative of each value with respect to the first marginal.
        b: derivative of each value with respect to the second marginal.
        scale: largest cost, `[1]` when shared, else `[batch]`: epsilon follows it, hence so does the value.
    """

    plan: Plan
    a: Float[Tensor, "batch n"]
    b: Float[Tensor, "batch m"]
    scale: Float[Tensor, "costs"]

    def cost(self, weights: Float[Tensor, "batch"], value: Float[Tensor, "batch"]) -> Float[Tensor, "*each n m"]:
        """Gradient of `sum weights * value` with respect to the cost.

        The plan, plus what comes through epsilon (and tau), which are relative to the largest cost: the value is
        homogeneous in the cost, so that share is `(value - <plan, cost>) / largest`, at the largest entry.
        """
        plan = self.plan
        gradient = plan.weighted(weights)
        largest = plan.cost == self.scale.view(-1, *([1] * (plan.cost.dim() - 1))) if plan.cost.dim() == 3 else None
        if largest is None:
            largest = plan.cost == self.scale
            rest = (weights * value).sum() - (gradient * plan.cost).sum()
            share = rest / self.scale / largest.sum().clamp(min=1)
            return gradient + largest * share
        largest &= (plan.a > 0)[:, :, None] & (plan.b > 0)[:, None, :]
        rest = weights * value - (gradient * plan.cost).sum((-1, -2))
        share = rest / self.scale / largest.sum((-1, -2)).clamp(min=1)
        return gradient + largest * share[:, None, None]


class EnvelopeValue(torch.autograd.Function):
    """Gives a solved value its gradient; the solver's steps are never unrolled."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, cost: Tensor, value: Tensor, sensitivity: Sensitivity) -> Tensor:  # noqa: D102
        ctx.sensitivity = sensitivity
        ctx.value = value
        ctx.dtypes = (a.dtype, b.dtype, cost.dtype)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        sensitivity, (a_type, b_type, cost_type) = ctx.sensitivity, ctx.dtypes
        for_a, for_b, for_cost = ctx.needs_input_grad[:3]
        weights = grad.to(ctx.value.dtype)
        return (
            (weights[:, None] * sensitivity.a).to(a_type) if for_a else None,
            (weights[:, None] * sensitivity.b).to(b_type) if for_b else None,
            sensitivity.cost(weights, ctx.value).to(cost_type) if for_cost else None,
            None,
            None,
        )
