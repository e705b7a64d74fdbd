"""An optimal transport problem, checked before any work is done with it, and the working form that solvers read."""

import math
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, replace

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.ot.memory import CPU_BYTES
from hf_ctkd.ot.precision import rounds_products

_LOW_PRECISION = (torch.bfloat16, torch.float16)
SAFE_EXPONENT = 60.0
"""Below this, products of two scalings and a kernel stay inside the range of float32."""
SAFE_EXPONENT_DOUBLE = 600.0
"""The same for float64."""


def require_tensor(name: str, value: object) -> None:
    """Refuse a list or an array of NumPy in words, where torch would say something of its own.

    Args:
        name: of the argument.
        value: given for it.

    Raises:
        InvalidArgumentError: if it is no tensor.
    """
    if not isinstance(value, Tensor):
        raise InvalidArgumentError(
            f"`{name}` must be a torch tensor, got {type(value).__name__}. Convert it with `torch.as_tensor`."
        )


@dataclass(frozen=True, eq=False)
class OTProblem:
    """A batch of transport problems between histograms.

    Use it for label spaces or other bins with a cost between them; for two clouds of points use `CloudProblem`, which
    never holds their cost. Entries of zero mass are inert, so that ragged label spaces can be padded with them.

    Args:
        cost: cost of moving one unit of mass, finite and not negative: `[n, m]` when the batch shares it (fast), or
            `[batch, n, m]`, one for each problem.
        a: mass at the sources, `[batch, n]`, not negative, each row summing to one (to 1e-4; 0.02 in 16 bits, for
            the rounding of the type). Zeros are allowed.
        b: mass at the targets, `[batch, m]`, under the same conditions.
        check: whether the values are checked, which waits for an accelerator. Pass False where they are known to be
            valid, such as a softmax's, and nothing may wait: in a CUDA graph, or a graph that `torch.compile` must not
            break. Invalid values then show in `OTSolution.status` alone. Shapes are always checked.

    Raises:
        InvalidArgumentError: a shape, device, type or value that cannot be used.

    Example:
        >>> import torch
        >>> from hf_ctkd.ot import OTProblem
        >>> cost = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        >>> problem = OTProblem(cost, torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 0.0]]))
        >>> problem.shared, problem.shape
        (True, (1, 2, 2))
    """

    # Any shape here: `__post_init__` refuses the wrong ones in words.
    cost: Shaped[Tensor, "..."]
    a: Shaped[Tensor, "..."]
    b: Shaped[Tensor, "..."]
    _: KW_ONLY
    check: bool = True

    def __post_init__(self) -> None:
        for name, tensor in (("cost", self.cost), ("a", self.a), ("b", self.b)):
            require_tensor(name, tensor)
            if not tensor.is_floating_point():
                raise InvalidArgumentError(
                    f"`{name}` must hold floating point numbers, got {tensor.dtype}. Convert it with `.float()`."
                )
        self._check_shapes()
        self._check_devices()
        if self.check:
            self._check_values()

    @property
    def shared(self) -> bool:
        """Whether the batch shares one cost."""
        return self.cost.dim() == 2

    @property
    def shape(self) -> tuple[int, int, int]:
        """Problems, sources and targets."""
        return (self.a.shape[0], self.a.shape[1], self.b.shape[1])

    @property
    def dtype(self) -> torch.dtype:
        """The type that the solver computes in: the widest of the three inputs, and at least 32 bits."""
        wide = torch.promote_types(torch.promote_types(self.cost.dtype, self.a.dtype), self.b.dtype)
        return torch.promote_types(wide, torch.float32)

    def _check_shapes(self) -> None:
        if self.a.dim() != 2 or self.b.dim() != 2 or self.cost.dim() not in (2, 3):
            raise InvalidArgumentError(
                "`a` must be [batch, n], `b` [batch, m] and `cost` [n, m] or [batch, n, m], got "
                f"{list(self.a.shape)}, {list(self.b.shape)} and {list(self.cost.shape)}."
            )
        batch, n = self.a.shape
        if self.b.shape[0] != batch:
            raise InvalidArgumentError(
                f"`a` and `b` must hold equally many problems, got {batch} and {self.b.shape[0]} rows."
            )
        expected = (n, self.b.shape[1]) if self.cost.dim() == 2 else (batch, n, self.b.shape[1])
        if tuple(self.cost.shape) != expected:
            raise InvalidArgumentError(
                f"`cost` must have shape {list(expected)} to fit `a` and `b`, got {list(self.cost.shape)}."
            )
        if 0 in expected or batch == 0:
            raise InvalidArgumentError(f"`cost`, `a` and `b` must not be empty, got a problem of {self.shape}.")

    def _check_devices(self) -> None:
        if not self.cost.device == self.a.device == self.b.device:
            raise InvalidArgumentError(
                f"`cost`, `a` and `b` must be on one device, got {self.cost.device}, {self.a.device} and "
                f"{self.b.device}. Move them with `.to(device)`."
            )

    def _check_values(self) -> None:
        # Least and largest take no memory, and are NaN where any entry is. One look at all of them: each is a wait.
        of_cost = (self.cost.amin() >= 0) & (self.cost.amax() < torch.inf)
        if bool(of_cost & _is_marginal(self.a) & _is_marginal(self.b)):
            return
        if not bool(of_cost):
            raise InvalidArgumentError(
                "`cost` has a negative, NaN or infinite entry. Make every entry finite and at least 0."
            )
        _check_marginal("a", self.a)
        _check_marginal("b", self.b)


def _is_marginal(mass: Tensor) -> Bool[Tensor, ""]:
    return (mass.amin() >= 0) & (_distance_to_one(mass) <= _slack(mass)).all()


def _distance_to_one(mass: Tensor) -> Tensor:
    return (mass.detach().sum(-1, dtype=torch.promote_types(mass.dtype, torch.float32)) - 1).abs()


def _slack(mass: Tensor) -> float:
    return 2e-2 if mass.dtype in _LOW_PRECISION else 1e-4


def _check_marginal(name: str, mass: Tensor) -> None:
    if not bool(mass.amin() >= 0):
        raise InvalidArgumentError(f"`{name}` has a negative or NaN entry. Every mass must be at least 0.")
    away = _distance_to_one(mass)
    if not bool((away <= _slack(mass)).all()):
        worst = int(away.nan_to_num(nan=float("inf")).argmax())
        totals = mass.detach().sum(-1, dtype=away.dtype)
        raise InvalidArgumentError(
            f"Each row of `{name}` must sum to 1, but row {worst} sums to {totals[worst].item():.6g}. "
            "Divide it by its sum."
        )


@dataclass(frozen=True, eq=False)
class PreparedProblem:
    """Problems as the solvers read them: in the working type, with marginals that sum to one.

    What the host needs to choose an algorithm is a Python number here, so that it never waits for the device.

    Args:
        cost: `[n, m]` shared, or `[batch, n, m]`, which `select` converts to the working type.
        a: mass at the sources.
        b: mass at the targets.
        scale: largest cost, `[1]` when shared, else `[batch]`.
        epsilon: `[batch]`.
        tau_a: `[batch]`; None where the marginal must be met.
        tau_b: `[batch]`; None where the marginal must be met.
        sharpest: upper bound of the largest cost over epsilon: the range of the kernel's exponents.
        uniform: whether all problems have one epsilon relative to their largest cost.
        max_bytes: limit of the memory for blocks of problems.
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
    max_bytes: int = CPU_BYTES

    @classmethod
    def of(
        cls, problem: OTProblem, epsilon: float | Tensor, *, tau_a: float, tau_b: float, max_bytes: int = CPU_BYTES
    ) -> "PreparedProblem":
        """From a problem and the solver's settings, which are relative to the largest cost.

        Where epsilon is small the potentials need more digits than 32 bits have, and where it is large the value does:
        such batches are solved in 64. So are all where a compiled graph would round the inputs of its products, as it
        cannot change that setting.
        """
        smallest, largest = extremes(epsilon)
        sharpest, uniform = 1 / smallest, not isinstance(epsilon, Tensor)
        rounded = torch.compiler.is_compiling() and rounds_products()
        dtype = torch.float64 if max(sharpest, largest) > SAFE_EXPONENT or rounded else problem.dtype
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
        return cls(cost, a, b, scale, (unit * epsilon).to(dtype), relaxed_a, relaxed_b, sharpest, uniform, max_bytes)

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
        """Indices of the problems of each epsilon in turn."""
        if self.uniform:
            return iter((slice(None),))
        return ((self.epsilon == epsilon).nonzero()[:, 0] for epsilon in torch.unique(self.epsilon))

    @property
    def safe_exponent(self) -> float:
        """Largest exponent that is safe in the working type; see `SAFE_EXPONENT`."""
        return SAFE_EXPONENT if self.a.dtype == torch.float32 else SAFE_EXPONENT_DOUBLE

    def powers(self, epsilon: Float[Tensor, "batch"]) -> tuple[float | Tensor, float | Tensor]:
        """`tau / (tau + epsilon)` of both marginals: the exponent of their scalings, 1 where they must be met."""
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


def extremes(epsilon: float | Tensor) -> tuple[float, float]:
    """The smallest and the largest epsilon of a batch.

    Args:
        epsilon: one number, or one per problem.
    """
    if not isinstance(epsilon, Tensor):
        return epsilon, epsilon
    smallest, largest = torch.stack(epsilon.aminmax()).tolist()
    return smallest, largest


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
