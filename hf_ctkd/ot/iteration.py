"""Alternate scaling of a kernel until the marginals hold: the inner loop of every Sinkhorn solver here."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Kernel:
    """A positive kernel that is applied from both sides; `[n, m]` shared by the problems, or one each.

    A kernel each is kept in both layouts: a row vector times a matrix is several times faster than a matrix times a
    column vector in batched products.
    """

    values: Float[Tensor, "*each n m"]
    transposed: Float[Tensor, "*each m n"]

    @classmethod
    def of(cls, values: Float[Tensor, "*each n m"]) -> "Kernel":
        """From the values alone."""
        if values.dim() == 2:
            return cls(values, values.T)
        return cls(values, values.transpose(1, 2).contiguous())

    def rows(self, v: Float[Tensor, "batch m"]) -> Float[Tensor, "batch n"]:
        """`kernel v` of every problem."""
        if self.values.dim() == 2:
            return v @ self.transposed
        return torch.bmm(v[:, None], self.transposed)[:, 0]

    def columns(self, u: Float[Tensor, "batch n"]) -> Float[Tensor, "batch m"]:
        """`kernel^T u` of every problem."""
        if self.values.dim() == 2:
            return u @ self.values
        return torch.bmm(u[:, None], self.values)[:, 0]

    def select(self, rows: Int[Tensor, "rows"]) -> "Kernel":
        """Take the kernel of some problems."""
        if self.values.dim() == 2:
            return self
        return Kernel(self.values[rows], self.transposed[rows])


@dataclass(frozen=True)
class Limits:
    """When to stop, and how the marginals bind.

    Args:
        steps: most steps to take.
        tolerance: marginal error to reach.
        every: steps between two checks.
        power_a: `tau_a / (tau_a + epsilon)`, 1 where the marginal must be met; a number, or `[batch, 1]`.
        power_b: the same for the second marginal.
    """

    steps: int
    tolerance: float
    every: int
    power_a: float | Tensor = 1.0
    power_b: float | Tensor = 1.0


@dataclass(frozen=True, eq=False)
class Scaled:
    """Where the loop ended: `rows` is `kernel v` before the last update of the targets, `columns` is `kernel^T u`."""

    rows: Float[Tensor, "batch n"]
    columns: Float[Tensor, "batch m"]
    error: Float[Tensor, "batch"]
    steps: Int[Tensor, "batch"]
    sound: Bool[Tensor, "batch"]


def iterate(
    kernel: Kernel,
    a: Float[Tensor, "batch n"],
    b: Float[Tensor, "batch m"],
    v: Float[Tensor, "batch m"],
    limits: Limits,
) -> Scaled:
    """Scale the kernel's rows and columns in turn until each problem's marginal error is small; done ones drop out.

    The error is that of the rows just after an update of the columns, which then hold exactly.

    Args:
        kernel: positive, of every problem.
        a: row sums asked for.
        b: column sums asked for.
        v: column scaling to start from.
        limits: when to stop.
    """
    out = _Output.empty(a, b)
    active = torch.arange(len(a), device=a.device)
    old = kernel.rows(v)
    u = _scaling(a, old, limits.power_a)
    for step in range(1, limits.steps + 1):
        columns = kernel.columns(u)
        v = _scaling(b, columns, limits.power_b)
        rows = kernel.rows(v)
        if step % limits.every == 0 or step == limits.steps:
            error = (u * (rows - old).abs_()).sum(-1)
            out.write(active, old, columns, error, step)
            going = error > limits.tolerance  # NaN compares false: an unsound problem stops at once
            if step == limits.steps or not bool(going.any()):
                break
            if 2 * int(going.sum()) <= len(active):
                keep = going.nonzero()[:, 0]
                active, kernel, limits = active[keep], kernel.select(keep), _select(limits, keep)
                a, b, rows = a[keep], b[keep], rows[keep]
        u = _scaling(a, rows, limits.power_a)
        old = rows
    return out.done(limits.tolerance)


def _scaling(mass: Tensor, sums: Tensor, power: float | Tensor) -> Tensor:
    if isinstance(power, float) and power == 1.0:
        return mass / sums
    return mass * sums.pow(-power)


def _select(limits: Limits, keep: Tensor) -> Limits:
    powers = [power[keep] if isinstance(power, Tensor) else power for power in (limits.power_a, limits.power_b)]
    return Limits(limits.steps, limits.tolerance, limits.every, powers[0], powers[1])


@dataclass(frozen=True, eq=False)
class _Output:
    rows: Tensor
    columns: Tensor
    error: Tensor
    steps: Tensor

    @classmethod
    def empty(cls, a: Tensor, b: Tensor) -> "_Output":
        error = torch.full((len(a),), torch.inf, dtype=a.dtype, device=a.device)
        return cls(torch.empty_like(a), torch.empty_like(b), error, torch.zeros_like(error, dtype=torch.int64))

    def write(self, active: Tensor, rows: Tensor, columns: Tensor, error: Tensor, step: int) -> None:
        self.rows[active], self.columns[active] = rows, columns
        self.error[active], self.steps[active] = error, torch.full_like(active, step)

    def done(self, tolerance: float) -> Scaled:
        positive = (self.rows > 0).all(-1) & (self.columns > 0).all(-1)
        finite = torch.isfinite(self.rows).all(-1) & torch.isfinite(self.columns).all(-1)
        return Scaled(self.rows, self.columns, self.error, self.steps, positive & finite & torch.isfinite(self.error))
