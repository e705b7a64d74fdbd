"""Alternate scaling of a kernel in memory until the marginals hold: the inner loop of `Sinkhorn`.

Peyré and Cuturi, "Computational optimal transport", 2019, equation (4.15): `u = a / (K v)`, `v = b / (K^T u)`; relaxed
marginals, their Section 10.2: `u = (a / (K v)) ** (tau / (tau + epsilon))`.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

CYCLE = 5
"""Steps between two checks on the device, which compute the error and undo an extrapolation that increased it."""
FEWEST, MOST = 3, 6
"""Points that an extrapolation reads."""


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

    @property
    def crowded(self) -> float:
        """Largest share of unfinished problems at which dropping the finished ones pays off: it copies the kernels."""
        return 0.75 if self.values.dim() == 2 else 0.5


@dataclass(frozen=True)
class Limits:
    """When to stop, and how the marginals bind.

    Args:
        steps: most steps to take.
        tolerance: marginal error to reach.
        every: least number of steps between two reads of the error by the host; from `steps` on it never reads it.
        power_a: `tau_a / (tau_a + epsilon)`, 1 where the marginal must be met; a number, or `[batch, 1]`.
        power_b: the same for the second marginal.
        stiffness: `epsilon / (tau_a + epsilon) + epsilon / tau_b`, `[batch, 1]`; None where both must be met.
        guarded: whether the kernel may hold underflown entries, so that each check asks if these matter.
    """

    steps: int
    tolerance: float
    every: int
    power_a: float | Tensor = 1.0
    power_b: float | Tensor = 1.0
    stiffness: Tensor | None = None
    guarded: bool = False

    def select(self, keep: Int[Tensor, "rows"]) -> "Limits":
        """Take the limits of some problems."""
        a, b = (power[keep] if isinstance(power, Tensor) else power for power in (self.power_a, self.power_b))
        stiffness = None if self.stiffness is None else self.stiffness[keep]
        return replace(self, power_a=a, power_b=b, stiffness=stiffness)

    @property
    def attended(self) -> bool:
        """Whether the host reads the error on the way; if not, all problems take the same steps, as in a CUDA graph."""
        return self.every < self.steps

    @property
    def cycle(self) -> int:
        """Steps between two checks."""
        return min(self.every, CYCLE)

    def checks(self, step: int) -> bool:
        """Whether the error is computed after a step."""
        return step % self.cycle == 0 or step == self.steps

    def looks(self, step: int) -> bool:
        """Whether the host reads the error that was just computed."""
        return step // self.every > (step - self.cycle) // self.every

    def extrapolates(self, step: int) -> bool:
        """Once between two checks, a plain step before the second."""
        return self.cycle > 1 and step % self.cycle == self.cycle - 1 and step < self.steps


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

    @classmethod
    def unknown(cls, a: Float[Tensor, "batch n"], b: Float[Tensor, "batch m"]) -> "Scaled":
        """Before the first check."""
        steps = torch.zeros(len(a), dtype=torch.int64, device=a.device)
        error = a.new_full((len(a),), torch.inf)
        return cls(torch.ones_like(a), torch.ones_like(b), error, steps, torch.ones_like(steps, dtype=torch.bool))

    def select(self, keep: Int[Tensor, "rows"]) -> "Scaled":
        """Take the states of some problems."""
        return Scaled(self.rows[keep], self.columns[keep], self.error[keep], self.steps[keep], self.sound[keep])

    def write(self, index: Int[Tensor, "rows"], states: "Scaled") -> None:
        """Put the states of some problems in their place."""
        self.rows[index], self.columns[index] = states.rows, states.columns
        self.error[index], self.steps[index], self.sound[index] = states.error, states.steps, states.sound


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
        a: required row sums.
        b: required column sums.
        v: column scaling to start from.
        limits: when to stop.
    """
    done = Scaled.unknown(a, b)
    live = _Live(kernel, a, b, None, limits, done, torch.ones_like(a[:, :1], dtype=torch.bool))
    history: list[Tensor] = []
    state = live.scale_rows(kernel.rows(v), None)
    before = None
    for step in range(1, limits.steps + 1):
        columns = live.kernel.columns(state.u)
        history = [*history[1 - MOST :], columns.log()]
        if limits.extrapolates(step) and len(history) >= FEWEST:
            before, columns = state, torch.where(live.trusted, extrapolated(history, live.b).exp_(), columns)
            history = []
        v = live.scale_columns(columns)
        rows = live.kernel.rows(v)
        mass = None if limits.stiffness is None else (v * columns).sum(-1, keepdim=True, dtype=torch.float64)
        if limits.checks(step):
            error = live.guarded((state.u * (rows - state.rows).abs()).sum(-1), v, state, columns)
            live, worse = live.update_best(error, state, columns, step)
            if before is not None:
                rows, mass = before.instead_of(rows, mass, worse)
                before = None
            if limits.looks(step) and step < limits.steps:
                keep = live.unfinished().nonzero()[:, 0]  # the host's one wait: which problems go on, and so how many
                if len(keep) == 0:
                    break
                if len(keep) <= live.kernel.crowded * len(live.a):
                    done = live.all_states(done)
                    live, rows, history = live.select(keep), rows[keep], [point[keep] for point in history]
                    mass = None if mass is None else mass[keep]
        state = live.scale_rows(rows, mass)
    states = live.all_states(done)
    return replace(states, sound=states.sound & torch.isfinite(states.error))


@dataclass(frozen=True, eq=False)
class _State:
    """Row sums, the row scaling computed from them, and the mass of the plan after the last update of the columns."""

    rows: Tensor
    u: Tensor
    mass: Tensor | None

    def instead_of(self, rows: Tensor, mass: Tensor | None, worse: Tensor) -> tuple[Tensor, Tensor | None]:
        """Row sums and mass of this state where the later ones are worse."""
        rows = torch.where(worse, self.rows, rows)
        return rows, mass if mass is None or self.mass is None else torch.where(worse, self.mass, mass)


@dataclass(frozen=True, eq=False)
class _Live:
    """The problems that are still going, their best state so far, and whether extrapolation has served them well."""

    kernel: Kernel
    a: Tensor
    b: Tensor
    index: Tensor | None
    limits: Limits
    best: Scaled
    trusted: Tensor

    def select(self, keep: Tensor) -> "_Live":
        return _Live(
            kernel=self.kernel.select(keep),
            a=self.a[keep],
            b=self.b[keep],
            index=keep if self.index is None else self.index[keep],
            limits=self.limits.select(keep),
            best=self.best.select(keep),
            trusted=self.trusted[keep],
        )

    def scale_rows(self, rows: Tensor, mass: Tensor | None) -> _State:
        """Scale the rows; where marginals are relaxed, at once with the best common shift of both potentials.

        Without the shift the total mass creeps to its place in about `tau / epsilon` steps. It makes the masses that
        the two potentials call for equal, which is the maximum of the dual over `f` and the shift together.

        Reference:
            Sejourne, Vialard, Peyre, "Faster unbalanced optimal transport: translation invariant Sinkhorn and 1-D
            Frank-Wolfe", 2022; the closed form for KL is derived here.
        """
        u = _scaling(self.a, rows, self.limits.power_a)
        if self.limits.stiffness is None or mass is None:
            return _State(rows, u, mass)
        plan_mass = (u * rows).sum(-1, keepdim=True, dtype=torch.float64)
        gap = (plan_mass / mass).log()
        # Below the rounding of the sums the shift would be noise, many times enlarged.
        gap = torch.where(gap.abs() > 4 * torch.finfo(rows.dtype).eps, gap, 0.0)
        shift = gap / self.limits.stiffness
        plan_mass = plan_mass * torch.exp((self.limits.power_a - 1) * shift)
        shift = shift.to(rows.dtype)
        return _State(rows * torch.exp(-shift), u * torch.exp(self.limits.power_a * shift), plan_mass)

    def scale_columns(self, sums: Tensor) -> Tensor:
        return _scaling(self.b, sums, self.limits.power_b)

    def guarded(self, error: Tensor, v: Tensor, state: _State, columns: Tensor) -> Tensor:
        """Turn the error to NaN where entries that underflow in the kernel could show in its products."""
        if not self.limits.guarded:
            return error
        bound = torch.finfo(v.dtype).tiny / torch.finfo(v.dtype).eps
        sound = state.u.sum(-1) * bound <= columns.amin(-1)
        sound &= v.sum(-1) * bound <= state.rows.amin(-1)
        return torch.where(sound, error, torch.nan)

    def update_best(self, error: Tensor, state: _State, columns: Tensor, step: int) -> tuple["_Live", Tensor]:
        """Keep the state where it is the best so far; also tell where an extrapolation made it worse."""
        better = error <= self.best.error
        running = self.best.error > self.limits.tolerance
        improved = better & running
        best = Scaled(
            rows=torch.where(improved[:, None], state.rows, self.best.rows),
            columns=torch.where(improved[:, None], columns, self.best.columns),
            error=torch.where(improved, error, self.best.error),
            steps=torch.where(running, step, self.best.steps),
            # An unsound problem stops, unless an extrapolation made it so, which is undone.
            sound=torch.where(running, self.trusted[:, 0] | ~error.isnan(), self.best.sound),
        )
        return replace(self, best=best, trusted=better[:, None]), ~better[:, None] & self.trusted

    def unfinished(self) -> Tensor:
        return (self.best.error > self.limits.tolerance) & self.best.sound

    def all_states(self, done: Scaled) -> Scaled:
        """The states of all problems, with those of the live ones in their place."""
        if self.index is None:
            return self.best
        done.write(self.index, self.best)
        return done


def _scaling(mass: Tensor, sums: Tensor, power: float | Tensor) -> Tensor:
    # `u = a exp(f / epsilon)`: the mass enters undamped, as the entropy is relative to the product of the marginals.
    if isinstance(power, float):
        return mass / sums
    return mass * sums.pow(-power)


def extrapolated(points: list[Tensor], mass: Tensor) -> Tensor:
    """Combine the last points of an iteration such that their differences cancel best, weighted by mass.

    Args:
        points: such as logarithms of column sums, `[batch, m]` each, the latest last.
        mass: weights, `[batch, m]`.

    Reference:
        Reduced rank extrapolation: after Sidi, "Vector extrapolation methods with applications", 2017.
    """
    stacked = torch.stack(points, 1)
    change = (stacked[:, 1:] - stacked[:, :-1]).mul_(mass.sqrt()[:, None])
    gram = (change @ change.transpose(1, 2)).double()
    largest = gram.diagonal(dim1=1, dim2=2).amax(1).clamp(min=1e-300)
    identity = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    gram = gram / largest[:, None, None] + 1e-10 * identity
    weights = torch.linalg.solve_ex(gram, torch.ones_like(gram[:, :, :1]))[0]
    weights = (weights / weights.sum(1, keepdim=True)).to(stacked.dtype)
    return (weights * stacked[:, 1:]).sum(1)
