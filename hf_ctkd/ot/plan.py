"""A transport plan that is held by its factors, and what can be had from it without writing it out."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

SAFE_EXPONENT = 60.0
"""Below this, products of two scalings and a kernel stay inside the range of float32."""
SAFE_EXPONENT_DOUBLE = 600.0
"""The same for float64."""


@dataclass(frozen=True, eq=False)
class Plan:
    """The plans `a b exp((f + g - cost) / epsilon)` of a batch, none of them written out.

    Args:
        cost: `[n, m]` shared, or `[batch, n, m]`.
        a: marginal, `[batch, n]`.
        b: marginal, `[batch, m]`.
        f: potential at the sources, `[batch, n]`.
        g: potential at the targets, `[batch, m]`.
        epsilon: `[batch]`, in units of the cost.
        max_bytes: limit of the memory for plans that have to be written out on the way.
    """

    cost: Float[Tensor, "*each n m"]
    a: Float[Tensor, "batch n"]
    b: Float[Tensor, "batch m"]
    f: Float[Tensor, "batch n"]
    g: Float[Tensor, "batch m"]
    epsilon: Float[Tensor, "batch"]
    max_bytes: int

    def dense(self, rows: Shaped[Tensor, "rows"] | slice) -> Float[Tensor, "chosen n m"]:
        """Write out the plans of some problems."""
        cost = self.cost if self.cost.dim() == 2 else self.cost[rows]
        epsilon = self.epsilon[rows, None, None]
        exponent = (self.f[rows, :, None] - cost + self.g[rows, None, :]).div_(epsilon)
        # Exact zeros at zero mass: there the exponent is arbitrary, and infinity times zero is no number.
        mass = self.a[rows, :, None] * self.b[rows, None, :]
        limit = 85.0 if exponent.dtype == torch.float32 else 700.0
        return exponent.clamp_(max=limit).exp_().mul_(mass)

    def transport_cost(self) -> Float[Tensor, "batch"]:
        """`<plan, cost>` of every problem."""
        scaled = self._scalings()
        if scaled is not None:
            u, v, kernel = scaled
            return (u * (v @ (kernel * self.cost).T)).sum(-1)
        blocks = [
            (self.dense(rows) * (self.cost if self.cost.dim() == 2 else self.cost[rows])).sum((-1, -2))
            for rows in self._blocks()
        ]
        return torch.cat(blocks)

    def weighted(self, weights: Float[Tensor, "batch"]) -> Float[Tensor, "*each n m"]:
        """`weights * plan`, summed over the batch where it shares its cost: the gradient with respect to the cost."""
        if self.cost.dim() == 3:
            return torch.cat([self.dense(rows).mul_(weights[rows, None, None]) for rows in self._blocks()])
        scaled = self._scalings()
        if scaled is not None:
            u, v, kernel = scaled
            return ((u * weights[:, None]).T @ v).mul_(kernel)
        total = torch.zeros_like(self.cost)
        for rows in self._blocks():
            total += torch.einsum("bnm,b->nm", self.dense(rows), weights[rows])
        return total

    def _blocks(self) -> Iterator[slice]:
        batch, n = self.a.shape
        one = 3 * n * self.b.shape[1] * self.a.element_size()
        size = max(1, self.max_bytes // one)
        return (slice(start, start + size) for start in range(0, batch, size))

    def _scalings(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """`(u, v, kernel)` with `plan = u kernel v`, where the batch shares its kernel and all stay in range."""
        if self.cost.dim() == 3 or bool((self.epsilon != self.epsilon[0]).any()):
            return None
        epsilon = self.epsilon[:, None]
        f, g = self.f / epsilon, self.g / epsilon
        # The potentials are free up to a constant; centred, both scalings have the smallest range.
        shift = (f.mean(-1, keepdim=True) - g.mean(-1, keepdim=True)) / 2
        f, g = f - shift, g + shift
        limit = SAFE_EXPONENT if self.a.dtype == torch.float32 else SAFE_EXPONENT_DOUBLE
        widest = torch.stack([1.5 * f.abs().amax(), 1.5 * g.abs().amax(), self.cost.amax() / self.epsilon[0]]).amax()
        if float(widest) > limit:
            return None
        return f.exp_().mul_(self.a), g.exp_().mul_(self.b), torch.exp(-self.cost / self.epsilon[0])
