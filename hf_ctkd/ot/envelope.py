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
    """

    plan: Plan
    a: Float[Tensor, "batch n"]
    b: Float[Tensor, "batch m"]

    def cost(self, weights: Float[Tensor, "batch"], value: Float[Tensor, "batch"]) -> Float[Tensor, "*each n m"]:
        """Gradient of `sum weights * value` with respect to the cost.

        The plan, plus what comes through epsilon (and tau), which are relative to the largest cost: the value is
        homogeneous in the cost, so that share is `(value - <plan, cost>) / largest`, at the largest entry.
        """
        if self.plan.prepared.cost.dim() == 3:
            return self._of_each_cost(weights, value)
        prepared = self.plan.prepared
        gradient = self.plan.weighted(weights)
        largest = prepared.cost == prepared.scale
        rest = (weights * value).sum() - (gradient * prepared.cost).sum()
        return gradient + largest * (rest / prepared.scale / largest.sum().clamp(min=1))

    def _of_each_cost(self, weights: Tensor, value: Tensor) -> Tensor:
        prepared = self.plan.prepared
        gradient = torch.empty_like(prepared.cost)
        for rows, _ in self.plan.parts():
            cost, scale = prepared.cost[rows], prepared.scale[rows]
            part = self.plan.dense(rows).mul_(weights[rows, None, None])
            rest = weights[rows] * value[rows] - torch.einsum("bnm,bnm->b", part, cost.to(part))
            largest = cost == scale[:, None, None]
            largest &= (prepared.a[rows] > 0)[:, :, None] & (prepared.b[rows] > 0)[:, None, :]
            share = rest / scale / largest.sum((-1, -2)).clamp(min=1)
            gradient[rows] = part.add_(largest * share[:, None, None])
        return gradient


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
