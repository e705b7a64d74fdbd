"""A transport plan that is held by its factors, and what can be had from it without writing it out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from hf_ctkd.ot.prepared import PreparedProblem, blocks

_LARGEST_EXPONENT, _LARGEST_EXPONENT_DOUBLE = 85.0, 700.0
"""Up to which the exponential is finite in 32 and in 64 bits."""
_COPIES = 4
"""Tensors of one size that are held at once on the way."""

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
        limit = _largest_exponent(exponent.dtype)
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
            if 2 * self.prepared.sharpest <= _largest_exponent(dtype):
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


def _largest_exponent(dtype: torch.dtype) -> float:
    return _LARGEST_EXPONENT if dtype == torch.float32 else _LARGEST_EXPONENT_DOUBLE
