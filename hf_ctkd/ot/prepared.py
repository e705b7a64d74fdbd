"""Working form of a batch of problems: one type, marginals that sum to one, settings in units of the cost."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from hf_ctkd.ot.problem import OTProblem

SAFE_EXPONENT = 60.0
"""Below this, products of two scalings and a kernel stay inside the range of float32."""
SAFE_EXPONENT_DOUBLE = 600.0
"""The same for float64."""


@dataclass(frozen=True, eq=False)
class PreparedProblem:
    """Problems made ready. What the host must know to choose its way is a number here, so that nobody has to wait.

    Args:
        cost: `[n, m]` shared, or `[batch, n, m]` as it was given until problems are selected.
        a: marginal.
        b: marginal.
        scale: largest cost, `[1]` when shared, else `[batch]`.
        epsilon: `[batch]`.
        tau_a: `[batch]`; None where the marginal must be met.
        tau_b: `[batch]`; None where the marginal must be met.
        sharpest: largest cost over epsilon, at most: the range of the kernel's exponents.
        uniform: whether all have one epsilon relative to their largest cost.
    """

    cost: Float[Tensor, "*each n m"]
    a: Float[Tensor, "batch n"]
    b: Float[Tensor, "batch m"]
    scale: Float[Tensor, "costs"]
    epsilon: Float[Tensor, "batch"]
    tau_a: Float[Tensor, "batch"] | None
    tau_b: Float[Tensor, "batch"] | None
    sharpest: float
    uniform: bool

    @classmethod
    def of(
        cls, problem: OTProblem, epsilon: float | Tensor, *, tau_a: float, tau_b: float, max_bytes: int = 2**28
    ) -> "PreparedProblem":
        """From a problem and the solver's settings, which are relative to the largest cost.

        Where epsilon is small the potentials need more digits than 32 bits have: such batches are solved in 64.
        """
        smallest = float(epsilon.min()) if isinstance(epsilon, Tensor) else epsilon
        sharpest, uniform = 1 / smallest, not isinstance(epsilon, Tensor)
        dtype = torch.float64 if sharpest > SAFE_EXPONENT else problem.dtype
        a, b = problem.a.detach().to(dtype), problem.b.detach().to(dtype)
        a, b = a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True)
        cost = problem.cost.detach()
        if problem.shared:
            cost = cost.to(dtype)
            scale = cost.amax().view(1)
        else:
            scale = _largest(cost, a, b, max_bytes)
        scale = torch.where(scale > 0, scale, 1.0)
        unit = scale.expand(len(a))
        relaxed_a, relaxed_b = (None if math.isinf(tau) else unit * tau for tau in (tau_a, tau_b))
        return cls(cost, a, b, scale, (unit * epsilon).to(dtype), relaxed_a, relaxed_b, sharpest, uniform)

    def select(self, rows: Shaped[Tensor, "rows"] | slice) -> "PreparedProblem":
        """Take some of the problems; a cost each comes in the working type, 0 where a marginal has no mass."""
        each = self.cost.dim() == 3
        a, b = self.a[rows], self.b[rows]
        return replace(
            self,
            cost=_inert(self.cost[rows].to(a.dtype), a, b) if each else self.cost,
            a=a,
            b=b,
            scale=self.scale[rows] if each else self.scale,
            epsilon=self.epsilon[rows],
            tau_a=None if self.tau_a is None else self.tau_a[rows],
            tau_b=None if self.tau_b is None else self.tau_b[rows],
        )

    def blocks(self, size: int) -> Iterator[slice]:
        """Slices of at most `size` problems."""
        return blocks(len(self.a), size)

    def alike(self) -> Iterator[Shaped[Tensor, "rows"] | slice]:
        """Problems of one epsilon, together."""
        if self.uniform:
            return iter((slice(None),))
        return ((self.epsilon == epsilon).nonzero()[:, 0] for epsilon in torch.unique(self.epsilon))

    @property
    def safe_exponent(self) -> float:
        """Up to where exponents are safe in the working type."""
        return SAFE_EXPONENT if self.a.dtype == torch.float32 else SAFE_EXPONENT_DOUBLE

    def powers(self, epsilon: Float[Tensor, "batch"]) -> tuple[float | Tensor, float | Tensor]:
        """`tau / (tau + epsilon)` of both marginals: how far a step goes towards meeting them."""
        return _power(self.tau_a, epsilon), _power(self.tau_b, epsilon)

    def stiffness(self) -> Float[Tensor, "batch 1"] | None:
        """`epsilon / (tau_a + epsilon) + epsilon / tau_b`: how much a common shift changes the masses asked for."""
        if self.balanced:
            return None
        total = torch.zeros_like(self.epsilon)
        if self.tau_a is not None:
            total = total + self.epsilon / (self.tau_a + self.epsilon)
        if self.tau_b is not None:
            total = total + self.epsilon / self.tau_b
        return total[:, None]

    @property
    def balanced(self) -> bool:
        """Whether both marginals must be met."""
        return self.tau_a is None and self.tau_b is None


def blocks(count: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` out of `count`."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _power(tau: Tensor | None, epsilon: Tensor) -> float | Tensor:
    return 1.0 if tau is None else (tau / (tau + epsilon))[:, None]


def _inert(cost: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Zero mass is inert: what such entries cost must not even reach the scale."""
    return torch.where((a > 0)[:, :, None] & (b > 0)[:, None, :], cost, 0.0)


def _largest(cost: Tensor, a: Tensor, b: Tensor, max_bytes: int) -> Tensor:
    size = max(1, max_bytes // (2 * cost[0].numel() * cost.element_size()))
    parts = [_inert(cost[rows], a[rows], b[rows]).amax((-1, -2)) for rows in blocks(len(a), size)]
    return torch.cat(parts).to(a.dtype)
