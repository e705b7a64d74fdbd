"""Alternate scaling of a kernel until the marginals hold: the inner loop of every Sinkhorn solver here."""

from dataclasses import dataclass, replace

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
        every: steps between two checks; one extrapolation falls between them.
        power_a: `tau_a / (tau_a + epsilon)`, 1 where the marginal must be met; a number, or `[batch, 1]`.
        power_b: the same for the second marginal.
        guarded: whether the kernel may hold underflown entries, so that each check asks if these matter.
    """

    steps: int
    tolerance: float
    every: int
    power_a: float | Tensor = 1.0
    power_b: float | Tensor = 1.0
    guarded: bool = False

    def select(self, keep: Int[Tensor, "rows"]) -> "Limits":
        """Take the limits of some problems."""
        a, b = (power[keep] if isinstance(power, Tensor) else power for power in (self.power_a, self.power_b))
        return replace(self, power_a=a, power_b=b)


@dataclass(frozen=True, eq=False)
class Scaled:
    """The best state that the loop came to.

    Args:
        rows: `kernel v` before the last update of the columns.
        columns: `kernel^T u` of the rows scaled by that.
        error: L1 error of the rows after it, infinite when no state was usable.
        steps: steps taken.
        sound: whether the arithmetic held out to the end.
    """

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

    The error is that of the rows just after an update of the columns, which then hold exactly. Between two checks the
    column sums are extrapolated once from their last few values, which takes two to four times fewer steps; where
    that made the error grow, it is taken back.

    Args:
        kernel: positive, of every problem.
        a: row sums asked for.
        b: column sums asked for.
        v: column scaling to start from.
        limits: when to stop.

    Reference:
        Extrapolation: reduced rank extrapolation, after Sidi, "Vector extrapolation methods with applications", 2017.
    """
    out = _Output.empty(a, b)
    live = _Live.all(kernel, a, b, limits)
    history: list[Tensor] = []
    old = kernel.rows(v)
    u = live.scale_rows(old)
    before = None
    for step in range(1, limits.steps + 1):
        columns = live.kernel.columns(u)
        history = [*history[1 - _MOST :], columns.log()]
        if live.extrapolates(step, len(history)):
            before, columns = columns, torch.where(live.trusted, extrapolated(history, live.b).exp_(), columns)
            history = []
        v = live.scale_columns(columns)
        rows = live.kernel.rows(v)
        if step % limits.every == 0 or step == limits.steps:
            error = live.guarded((u * (rows - old).abs_()).sum(-1), u, v, old, columns)
            better = error <= live.error
            out.write(live, better, old, columns, error, step)
            best = torch.where(better, error, live.error)
            # An unsound problem stops, unless it was the extrapolation that led it astray.
            going = (best > limits.tolerance) & (live.trusted[:, 0] | ~error.isnan())
            if step == limits.steps or not bool(going.any()):
                break
            if before is not None:
                live.restore(rows, before, ~better)
            live = replace(live, trusted=better[:, None], error=best)
            before = None
            if 2 * int(going.sum()) <= len(going):
                keep = going.nonzero()[:, 0]
                live, rows, history = live.select(keep), rows[keep], [point[keep] for point in history]
        u = live.scale_rows(rows)
        old = rows
    return out.done()


_FEWEST, _MOST = 3, 6
"""Column sums that an extrapolation reads."""


def extrapolated(logs: list[Tensor], mass: Tensor) -> Tensor:
    """Combine the last points of an iteration such that their differences cancel best, weighted by mass.

    Args:
        logs: logarithms of column sums, `[batch, m]` each, the latest last.
        mass: weights, `[batch, m]`.
    """
    points = torch.stack(logs, 1)
    change = (points[:, 1:] - points[:, :-1]).mul_(mass.sqrt()[:, None])
    gram = (change @ change.transpose(1, 2)).double()
    largest = gram.diagonal(dim1=1, dim2=2).amax(1).clamp(min=1e-300)
    identity = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    gram = gram / largest[:, None, None] + 1e-10 * identity
    weights = torch.linalg.solve_ex(gram, torch.ones_like(gram[:, :, :1]))[0]
    weights = (weights / weights.sum(1, keepdim=True)).to(points.dtype)
    return (weights * points[:, 1:]).sum(1)


@dataclass(frozen=True, eq=False)
class _Live:
    """The problems that are still going: their least error so far, and whether extrapolation has served them well."""

    kernel: Kernel
    a: Tensor
    b: Tensor
    index: Tensor
    trusted: Tensor
    error: Tensor
    limits: Limits

    @classmethod
    def all(cls, kernel: Kernel, a: Tensor, b: Tensor, limits: Limits) -> "_Live":
        trusted = torch.ones(len(a), 1, dtype=torch.bool, device=a.device)
        error = torch.full((len(a),), torch.inf, dtype=a.dtype, device=a.device)
        return cls(kernel, a, b, torch.arange(len(a), device=a.device), trusted, error, limits)

    def select(self, keep: Tensor) -> "_Live":
        return _Live(
            kernel=self.kernel.select(keep),
            a=self.a[keep],
            b=self.b[keep],
            index=self.index[keep],
            trusted=self.trusted[keep],
            error=self.error[keep],
            limits=self.limits.select(keep),
        )

    def extrapolates(self, step: int, points: int) -> bool:
        """Once between two checks, a plain step before the second."""
        every = self.limits.every
        return every > 1 and step % every == every - 1 and step < self.limits.steps and points >= _FEWEST

    def scale_rows(self, sums: Tensor) -> Tensor:
        return _scaling(self.a, sums, self.limits.power_a)

    def scale_columns(self, sums: Tensor) -> Tensor:
        return _scaling(self.b, sums, self.limits.power_b)

    def guarded(self, error: Tensor, u: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Turn the error to NaN where entries that underflow in the kernel could show in its products."""
        if not self.limits.guarded:
            return error
        bound = torch.finfo(u.dtype).tiny / torch.finfo(u.dtype).eps
        sound = (u.sum(-1) * bound <= columns.amin(-1)) & (v.sum(-1) * bound <= rows.amin(-1))
        return torch.where(sound, error, torch.nan)

    def restore(self, rows: Tensor, before: Tensor, worse: Tensor) -> None:
        """Go back to the column sums before the extrapolation where it made the error grow."""
        back = worse.nonzero()[:, 0]
        if len(back):
            rows[back] = self.kernel.select(back).rows(self.scale_columns(before)[back])


def _scaling(mass: Tensor, sums: Tensor, power: float | Tensor) -> Tensor:
    if isinstance(power, float) and power == 1.0:
        return mass / sums
    return mass * sums.pow(-power)


@dataclass(frozen=True, eq=False)
class _Output:
    """The best state of every problem so far."""

    rows: Tensor
    columns: Tensor
    error: Tensor
    steps: Tensor
    sound: Tensor

    @classmethod
    def empty(cls, a: Tensor, b: Tensor) -> "_Output":
        error = torch.full((len(a),), torch.inf, dtype=a.dtype, device=a.device)
        steps = torch.zeros(len(a), dtype=torch.int64, device=a.device)
        return cls(torch.ones_like(a), torch.ones_like(b), error, steps, torch.ones_like(steps, dtype=torch.bool))

    def write(self, live: "_Live", better: Tensor, rows: Tensor, columns: Tensor, error: Tensor, step: int) -> None:
        unfinished = live.error > live.limits.tolerance
        index = live.index[unfinished]
        self.steps[index], self.sound[index] = step, ~error.isnan()[unfinished]
        kept = better & unfinished
        if bool(kept.all()):
            index = live.index
        else:
            index, rows, columns, error = live.index[kept], rows[kept], columns[kept], error[kept]
        self.rows[index], self.columns[index], self.error[index] = rows, columns, error

    def done(self) -> Scaled:
        return Scaled(self.rows, self.columns, self.error, self.steps, self.sound & torch.isfinite(self.error))
