"""An optimal transport problem: a cost and two marginals, checked before any work is done with them."""

from dataclasses import KW_ONLY, dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError

_LOW_PRECISION = (torch.bfloat16, torch.float16)


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
        check: whether the values are looked at, which waits for an accelerator. False where they are known to be good,
            such as a softmax's, and nothing may wait: in a CUDA graph, or a graph that `torch.compile` is not to break.
            What bad values then lead to shows in `OTSolution.status`. Shapes are always checked.

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
        # Least and largest take no memory, and are NaN where any entry is.
        if not bool((self.cost.amin() >= 0) & (self.cost.amax() < torch.inf)):
            raise InvalidArgumentError(
                "`cost` has a negative, NaN or infinite entry. Make every entry finite and at least 0."
            )
        _check_marginal("a", self.a)
        _check_marginal("b", self.b)


def _check_marginal(name: str, mass: Tensor) -> None:
    if not bool(mass.amin() >= 0):
        raise InvalidArgumentError(f"`{name}` has a negative or NaN entry. Every mass must be at least 0.")
    slack = 2e-2 if mass.dtype in _LOW_PRECISION else 1e-4
    totals = mass.detach().to(torch.promote_types(mass.dtype, torch.float32)).sum(-1)
    away = (totals - 1).abs()
    if not bool((away <= slack).all()):
        worst = int(away.nan_to_num(nan=float("inf")).argmax())
        raise InvalidArgumentError(
            f"Each row of `{name}` must sum to 1, but row {worst} sums to {totals[worst].item():.6g}. "
            "Divide it by its sum."
        )
