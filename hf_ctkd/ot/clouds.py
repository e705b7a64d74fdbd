"""Entropic transport between two clouds of points, whose cost is computed block by block and never stored."""

import math
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from numbers import Real

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.ot.memory import block_bytes
from hf_ctkd.ot.precision import check_resolvable, full_products, resolving_dtype
from hf_ctkd.ot.problem import require_tensor
from hf_ctkd.ot.streaming import solve_streamed


@dataclass(frozen=True, eq=False)
class CloudProblem:
    """Transport between two clouds of points at squared Euclidean cost; all points of a cloud have equal mass.

    Use it for the features of two data sets; where `len(x) * len(y)` numbers fit in memory, an `OTProblem` of their
    cost is faster and has a gradient.

    Args:
        x: points of the source, `[n, width]`, finite.
        y: points of the target, `[m, width]`, finite.

    Raises:
        InvalidArgumentError: a shape, device, type or value that cannot be used.
    """

    # Any shape here: `__post_init__` refuses the wrong ones in words.
    x: Shaped[Tensor, "..."]
    y: Shaped[Tensor, "..."]

    def __post_init__(self) -> None:
        for name, points in (("x", self.x), ("y", self.y)):
            require_tensor(name, points)
            if points.dim() != 2 or not points.is_floating_point() or 0 in points.shape:
                raise InvalidArgumentError(
                    f"`{name}` must be floating point [points, width], got {points.dtype} {list(points.shape)}."
                )
            if not bool(torch.isfinite(points).all()):
                raise InvalidArgumentError(f"`{name}` has a NaN or infinite entry. Remove these points.")
        if self.x.shape[1] != self.y.shape[1] or self.x.device != self.y.device:
            raise InvalidArgumentError(
                f"`x` and `y` must have one width and device, got {list(self.x.shape)} on {self.x.device} and "
                f"{list(self.y.shape)} on {self.y.device}."
            )


@dataclass(frozen=True, eq=False)
class CloudSolution:
    """The plan between two clouds, as its potentials; carries no gradient.

    Args:
        value: `<plan, cost> + epsilon KL(plan | product of the marginals)`, a scalar.
        potentials: `(f, g)`, `[n]` and `[m]`, in units of the cost.
        marginal_error: L1 distance between the plan's marginals and the required ones.
        steps: passes over the cost.
        epsilon: strength of the entropy, in units of the cost.
        blocks: computes the cost again, block by block.
    """

    value: Float[Tensor, ""]
    potentials: tuple[Float[Tensor, "n"], Float[Tensor, "m"]]
    marginal_error: float
    steps: int
    epsilon: float
    blocks: "_Blocks"

    @cached_property
    def cost(self) -> Float[Tensor, ""]:
        """`<plan, cost>`, computed on first use."""
        total = torch.zeros_like(self.value)
        with torch.autocast(total.device.type, enabled=False), full_products():
            for rows, cost in self.blocks:
                total += (self._plan(rows, cost) * cost).sum()
        return total

    def pooled(self, left: Float[Tensor, "n k"], right: Float[Tensor, "m l"]) -> Float[Tensor, "k l"]:
        """Sum the plan over groups of points: `left^T plan right`.

        Args:
            left: `[n, k]`, membership of the source's points in groups, such as one-hot labels.
            right: `[m, l]`, membership of the target's points.

        Returns:
            `[k, l]`, the mass that goes from each group of the source to each of the target.
        """
        left, right = left.to(self.value), right.to(self.value)
        total = left.new_zeros(left.shape[1], right.shape[1])
        with torch.autocast(total.device.type, enabled=False), full_products():
            for rows, cost in self.blocks:
                total += left[rows].T @ (self._plan(rows, cost) @ right)
        return total

    def _plan(self, rows: slice, cost: Tensor) -> Tensor:
        f, g = self.potentials
        return torch.exp((f[rows, None] + g - cost) / self.epsilon) / (len(f) * len(g))


@dataclass(frozen=True, eq=False)
class CloudSinkhorn:
    """Entropic transport between two clouds of points in bounded memory.

    Each step goes over the cost once, block by block. Use it for transferability metrics such as OTCE, not for
    training: its solution has no gradient.

    Args:
        epsilon: strength of the entropy relative to the largest cost, positive.
        max_steps: most steps, at least 1.
        tolerance: L1 error of the marginals at which it is done, positive.
        max_bytes: limit on the memory for a block of the cost; by default 64 MiB on a processor, and a quarter of what
            is free on an accelerator, where every further block costs a few kernel launches a step.

    Raises:
        InvalidArgumentError: an argument out of its range.

    Reference:
        Blocks: after Feydy et al., "Interpolating between optimal transport and MMD using Sinkhorn divergences", 2019.

    Example:
        >>> import torch
        >>> from hf_ctkd.ot import CloudProblem, CloudSinkhorn
        >>> x = torch.tensor([[0.0], [1.0]])
        >>> solution = CloudSinkhorn(epsilon=0.01).solve(CloudProblem(x, x + 1.0))
        >>> bool(abs(solution.cost - 1.0) < 1e-4)
        True
    """

    epsilon: float = 0.05
    max_steps: int = 2_000
    _: KW_ONLY
    tolerance: float = 1e-4
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("epsilon", self.epsilon), ("tolerance", self.tolerance)):
            if not isinstance(value, Real):
                raise InvalidArgumentError(f"`{name}` must be a number, got {type(value).__name__}.")
            if not 0 < value < math.inf:
                raise InvalidArgumentError(f"`{name}` must be positive and finite, got {value}.")
        for name, count in (("max_steps", self.max_steps), ("max_bytes", self.max_bytes)):
            if count is not None and count < 1:
                raise InvalidArgumentError(f"`{name}` must be at least 1, got {count}.")

    @torch.no_grad()
    def solve(self, problem: CloudProblem) -> CloudSolution:
        """Solve one problem.

        Args:
            problem: the two clouds.

        Raises:
            NotConvergedError: the tolerance was missed after `max_steps`.
            InvalidArgumentError: `epsilon` is too small or too large for float64 at this `tolerance`, or squared
                distances are for their type.
        """
        check_resolvable(self.epsilon, self.tolerance)
        with torch.autocast(problem.x.device.type, enabled=False), full_products():
            given = 2**26 if self.max_bytes is None and problem.x.device.type == "cpu" else self.max_bytes
            max_bytes = block_bytes(problem.x.device, given)
            blocks = _Blocks.of(problem, max_bytes, resolving_dtype(self.epsilon, self.tolerance))
            largest = blocks.largest()
            _check_range(problem, largest, blocks.y.dtype)
            epsilon = self.epsilon * (largest or 1.0)
            m = len(blocks.y)
            solved = solve_streamed(
                lambda: (cost.div_(-epsilon) for _, cost in blocks),
                torch.full((m,), 1 / m, dtype=torch.float64, device=blocks.y.device),
                epsilon=epsilon,
                max_steps=self.max_steps,
                tolerance=self.tolerance,
            )
        # The streamed plan counts its columns, this one is relative to the product of the marginals, `1 / (n m)`.
        f, g = epsilon * solved.f, epsilon * (solved.g + math.log(m)).to(solved.f)
        # The rows hold, so that the plan has mass one and the dual is `<a, f> + <b, g>` (Peyre and Cuturi, Prop. 4.4).
        return CloudSolution(f.mean() + g.mean(), (f, g), solved.marginal_error, solved.steps, epsilon, blocks)


def _check_range(problem: CloudProblem, largest: float, dtype: torch.dtype) -> None:
    """Squares leave the range of a type long before the points do."""
    tiny, point = torch.finfo(dtype).tiny, problem.x[0]
    equal = bool((problem.x == point).all() and (problem.y == point).all())
    if not largest < math.inf or (largest < tiny and not equal):
        raise InvalidArgumentError(
            f"`x` and `y` must have squared distances of at least {tiny:.1g} and within the range of {dtype}, got "
            f"{largest:g} as the largest. Divide both by one number, such as their largest entry."
        )


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Squared distances between two clouds, some rows at a time."""

    x: Tensor
    y: Tensor
    square: Tensor
    rows: int

    @classmethod
    def of(cls, problem: CloudProblem, max_bytes: int, least: torch.dtype) -> "_Blocks":
        dtype = torch.promote_types(torch.promote_types(problem.x.dtype, problem.y.dtype), least)
        x, y = problem.x.detach().to(dtype), problem.y.detach().to(dtype)
        # Distances are differences of large numbers when both clouds lie far from the origin.
        centre = y.mean(0)
        x, y = x - centre, y - centre
        return cls(x, y, y.square().sum(1), max(1, max_bytes // (4 * len(y) * y.element_size())))

    def __iter__(self) -> Iterator[tuple[slice, Tensor]]:
        for start in range(0, len(self.x), self.rows):
            rows = slice(start, min(start + self.rows, len(self.x)))
            points = self.x[rows]
            cost = torch.addmm(self.square, points, self.y.T, alpha=-2).add_(points.square().sum(1, keepdim=True))
            yield rows, cost.clamp_(min=0)

    def largest(self) -> float:
        return float(torch.stack([cost.max() for _, cost in self]).max())
