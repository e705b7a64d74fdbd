"""What a solver returns: plans by their factors, values with a gradient, and the status of each problem."""

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.autograd.function import once_differentiable

from hf_ctkd.ot.precision import full_products, largest_exponent
from hf_ctkd.ot.problem import PreparedProblem, blocks

_COPIES = 4
"""Tensors of one size that a block holds at once."""

_Rows: TypeAlias = Tensor | slice
_Scalings: TypeAlias = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Plan:
    """The plans `a b exp((f + g - cost) / epsilon)` of a batch, none of them written out.

    Args:
        prepared: costs, marginals and epsilons.
        f: potential at the sources, `[batch, n]`.
        g: potential at the targets, `[batch, m]`.
        max_bytes: limit of the memory for plans that have to be written out on the way.
    """

    prepared: PreparedProblem
    f: Float[Tensor, "batch n"]
    g: Float[Tensor, "batch m"]
    max_bytes: int

    def dense(self, rows: Shaped[Tensor, "rows"] | slice) -> Float[Tensor, "chosen n m"]:
        """Write out the plans of some problems."""
        prepared = self.prepared
        cost = prepared.cost if prepared.cost.dim() == 2 else prepared.cost[rows]
        exponent = (self.f[rows, :, None] - cost).add_(self.g[rows, None, :]).div_(prepared.epsilon[rows, None, None])
        limit = largest_exponent(exponent.dtype)
        # Exact zeros at zero mass: there the exponent is arbitrary, and infinity times zero is no number.
        return exponent.clamp_(max=limit).exp_().mul_(prepared.a[rows, :, None]).mul_(prepared.b[rows, None, :])

    def transport_cost(self) -> Float[Tensor, "batch"]:
        """`<plan, cost>` of every problem."""
        prepared = self.prepared
        total = torch.empty_like(prepared.epsilon)
        for rows, scaled in self.parts():
            cost = prepared.cost if prepared.cost.dim() == 2 else prepared.cost[rows]
            if scaled is None:
                total[rows] = self.dense(rows).mul_(cost).sum((-1, -2))
            else:
                u, v, kernel = scaled
                total[rows] = u.mul_(v @ kernel.mul_(cost).T).sum(-1).to(total)
        return total

    def weighted(self, weights: Float[Tensor, "batch"]) -> Float[Tensor, "n m"]:
        """`weights * plan`, summed over a batch that shares its cost: the gradient with respect to the cost."""
        total = torch.zeros_like(self.prepared.cost)
        for rows, scaled in self.parts():
            if scaled is None:
                total += torch.einsum("bnm,b->nm", self.dense(rows), weights[rows])
            else:
                u, v, kernel = scaled
                total += kernel.mul_(u.mul_(weights[rows, None]).T @ v)
        return total

    def parts(self) -> Iterator[tuple[_Rows, _Scalings | None]]:
        """Problems that share a kernel, with their scalings; or as many as may be written out at once."""
        prepared = self.prepared
        together = self._fits(prepared.a[0].numel() * prepared.b[0].numel())
        if prepared.cost.dim() == 3:
            yield from ((rows, None) for rows in prepared.blocks(together))
            return
        every = torch.arange(len(prepared.a), device=prepared.a.device)
        for rows in prepared.alike():
            factored = self._factored
            index = every[rows]
            size = together if factored is None else self._fits(prepared.a[0].numel() + prepared.b[0].numel())
            for block in blocks(len(index), size):
                part = slice(block.start, block.stop) if prepared.uniform else index[block]
                yield part, None if factored is None else self._scalings(part, factored)

    def _fits(self, numbers: int) -> int:
        """How many problems with so many numbers in 64 bits each may be held at once, a few copies of them."""
        return max(1, self.max_bytes // (_COPIES * 8 * numbers))

    @property
    def _factored(self) -> torch.dtype | None:
        """The type in which the scalings of a shared kernel stay in range, if any does.

        Each potential is one largest cost wide at most, since it is the other's soft minimum with the cost; centred,
        its entries are at most two from zero. That bound spares a look at the potentials.
        """
        for dtype in (self.prepared.a.dtype, torch.float64):
            if 2 * self.prepared.sharpest <= largest_exponent(dtype):
                return dtype
        return None

    def _scalings(self, rows: _Rows, dtype: torch.dtype) -> _Scalings:
        """`(u, v, kernel)` with `plan = u kernel v`."""
        prepared = self.prepared
        epsilon = prepared.epsilon[rows, None].to(dtype)
        f, g = self.f[rows] / epsilon, self.g[rows] / epsilon
        shift = (f.mean(-1, keepdim=True) - g.mean(-1, keepdim=True)) / 2
        u, v = (f - shift).exp_().mul_(prepared.a[rows]), (g + shift).exp_().mul_(prepared.b[rows])
        return u, v, torch.exp(-prepared.cost / epsilon[0])


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
    """Attaches the gradient of the envelope theorem to a solved value, without backpropagation through the solver."""

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
        with torch.autocast(grad.device.type, enabled=False), full_products():
            of_cost = sensitivity.cost(weights, ctx.value).to(cost_type) if for_cost else None
        return (
            (weights[:, None] * sensitivity.a).to(a_type) if for_a else None,
            (weights[:, None] * sensitivity.b).to(b_type) if for_b else None,
            of_cost,
            None,
            None,
        )


class Status(enum.IntEnum):
    """How the solver left a problem."""

    CONVERGED = 0
    """The marginal error is at most the tolerance."""
    OUT_OF_STEPS = 1
    """`max_steps` were not enough; value and potentials are those of the last step."""


@dataclass(frozen=True, eq=False)
class OTSolution:
    """The solution of every problem of a batch.

    `value` is the entropic optimum `min <plan, cost> + epsilon KL(plan | a b^T)`, where
    `KL(p | q) = sum p log(p / q) - p + q` is taken against the product of the marginals, so that it is 0 for
    independent marginals and `value` lies between the exact cost and the cost of the product plan. (The convention
    with the plain entropy, `sum plan log plan`, is lower by `epsilon (H(a) + H(b))`.) With `tau_a`, `tau_b` it also
    holds `tau_a KL(plan 1 | a) + tau_b KL(plan^T 1 | b)`. Its gradient comes from the potentials and the plan by the
    envelope theorem: train on `value`, not on `cost`, which carries no gradient.

    Args:
        value: the entropic optimum, `[batch]`; differentiable once in `a`, `b` and `cost`. With marginals that must be
            met, the gradient is that along the simplex: `f - <a, f>` and `g - <b, g>`. It is 0 at entries of zero mass.
        potentials: `(f, g)`, `[batch, n]` and `[batch, m]`, in units of the cost; the warm start of a next solve.
        marginal_error: L1 distance between the plan's marginals and the required ones, `[batch]`. Where `tau_a` or
            `tau_b` relaxes a marginal, the required one is that of the optimum, `a exp(-f / tau_a)` or
            `b exp(-g / tau_b)`.
        steps: steps taken at the final epsilon, `[batch]`; those at the larger epsilons before it are not counted.
        status: a `Status` for each problem, `[batch]`.
        factors: the plans as potentials and costs, none of them written out; `plan` writes some out.

    Example:
        >>> import torch
        >>> from hf_ctkd.ot import OTProblem, Sinkhorn
        >>> cost = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        >>> a, b = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]])
        >>> solution = Sinkhorn(epsilon=0.05).solve(OTProblem(cost, a, b))
        >>> bool(solution.converged.all()), solution.plan().round(decimals=2)
        (True, tensor([[[0.2500, 0.2500],
                 [0.0000, 0.5000]]]))
    """

    value: Float[Tensor, "batch"]
    potentials: tuple[Float[Tensor, "batch n"], Float[Tensor, "batch m"]]
    marginal_error: Float[Tensor, "batch"]
    steps: Int[Tensor, "batch"]
    status: Int[Tensor, "batch"]
    factors: Plan

    @cached_property
    def cost(self) -> Float[Tensor, "batch"]:
        """`<plan, cost>`, computed on first use; carries no gradient."""
        with torch.no_grad(), torch.autocast(self.value.device.type, enabled=False), full_products():
            return self.factors.transport_cost()

    @property
    def converged(self) -> Bool[Tensor, "batch"]:
        """Which problems met the tolerance."""
        return self.status == Status.CONVERGED

    def plan(self, rows: Shaped[Tensor, "rows"] | slice | None = None) -> Float[Tensor, "chosen n m"]:
        """Write out the plans `[batch, n, m]`, or those of some problems; they carry no gradient.

        They have the type that the solver computed in: float64 where epsilon is small, whatever that of the problem.

        Args:
            rows: which problems, by index, mask or slice; all when None.
        """
        with torch.no_grad():
            return self.factors.dense(slice(None) if rows is None else rows)
