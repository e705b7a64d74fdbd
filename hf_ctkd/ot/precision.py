"""Full float32 products, whatever the code around has chosen: no TF32, no bfloat16 on a processor.

A marginal error that is computed with the rounded products of the solve is small where the true one is not, and no
number of steps makes up for it.
"""

import math
import threading
from typing import Any

import torch
from torch.torch_version import TorchVersion

from hf_ctkd.errors import InvalidArgumentError

_PER_BACKEND = TorchVersion(torch.__version__) >= "2.9"
"""Whether torch has a setting for each backend, which must not be mixed with the older one for all of them."""
_BACKENDS: Any = torch.backends
"""Untyped, as torch declares no type for its settings."""
_FULL = ("ieee", "none")
"""Settings of a backend whose products are full: chosen, and the default."""
_STRONGEST = 1e12
"""Times a largest cost, the highest price of leaving a marginal; its reciprocal is the lowest."""


class full_products:  # noqa: N801 - a context manager, as `torch.no_grad` is
    """Compute float32 matrix products in float32, inside a `with` statement that switches autocast off too.

    TF32 is a setting of the whole process: it is switched off where it is on, by the first of several threads that come
    here, and on again by the last. Other threads compute more exactly meanwhile. In a graph that `torch.compile`
    traces, no setting can change: see `rounds_products`.

    Example:
        >>> import torch
        >>> from hf_ctkd.ot.precision import full_products
        >>> with torch.autocast("cpu", enabled=False), full_products():
        ...     product = torch.eye(2) @ torch.eye(2)
    """

    def __enter__(self) -> None:
        """Switch off what rounds."""
        if not torch.compiler.is_compiling():
            _SWITCH.enter()

    def __exit__(self, *exception: object) -> None:
        """Switch on again what was on."""
        if not torch.compiler.is_compiling():
            _SWITCH.leave()


@torch.compiler.assume_constant_result
def rounds_products() -> bool:
    """Whether the process rounds the inputs of float32 products, to TF32 or bfloat16."""
    if _PER_BACKEND:
        return any(setting not in _FULL for setting in _per_backend())
    return torch.get_float32_matmul_precision() != "highest"


def largest_exponent(dtype: torch.dtype) -> float:
    """Up to which the exponential is finite: in 32 bits, or in 64."""
    return 85.0 if dtype == torch.float32 else 700.0


def check_resolvable(
    epsilon: float, tolerance: float, *, largest: float | None = None, cost: torch.dtype = torch.float64
) -> None:
    """Raise when an epsilon is lost in the rounding of the numbers that it is to tell apart, or costs are beside it.

    Args:
        epsilon: the smallest, relative to the largest cost.
        tolerance: marginal error to reach.
        largest: the largest epsilon; None where there is one alone.
        cost: type in which the costs were given.

    Raises:
        InvalidArgumentError: saying which epsilon could be held.
    """
    # The exponents of a plan are as large as `1 / epsilon`: their rounding is the relative error of its entries.
    least = torch.finfo(torch.float64).eps / tolerance
    if epsilon < least:
        raise InvalidArgumentError(
            f"`epsilon` must be at least {least:.1g} for a `tolerance` of {tolerance:g}, as float64 resolves no less, "
            f"got {epsilon:g}. Increase one of them."
        )
    # The value is a sum of terms as large as epsilon, which all but cancel: their rounding is its error.
    largest, most = epsilon if largest is None else largest, tolerance / torch.finfo(torch.float64).eps
    if largest > most:
        raise InvalidArgumentError(
            f"`epsilon` must be at most {most:.1g} for a `tolerance` of {tolerance:g}, as the costs are lost in the "
            f"rounding of float64 beside it, got {largest:g}. Decrease it."
        )
    rounding = torch.finfo(cost).eps
    if rounding > epsilon:
        raise InvalidArgumentError(
            f"`epsilon` must be at least {rounding:.1g} for a `cost` in {cost}, which rounds by as much, got "
            f"{epsilon:g}. Increase it, or compute the cost in float32."
        )


def check_strength(name: str, strength: float) -> None:
    """Raise when the price of leaving a marginal is finite, but so large or small that it is lost in rounding.

    Args:
        name: of the argument.
        strength: the price; infinite where the marginal must be met.

    Raises:
        InvalidArgumentError: saying which are possible.
    """
    if strength != math.inf and not 1 / _STRONGEST <= strength <= _STRONGEST:
        raise InvalidArgumentError(
            f"`{name}` must be between {1 / _STRONGEST:g} and {_STRONGEST:g}, or infinite for a marginal that must be "
            f"met, got {strength:g}."
        )


def resolving_dtype(epsilon: float, tolerance: float) -> torch.dtype:
    """Float32 where its rounding leaves exponents of `1 / epsilon` and sums of epsilons exact to the tolerance.

    Args:
        epsilon: relative to the largest cost.
        tolerance: marginal error to reach.
    """
    exact = torch.finfo(torch.float32).eps * max(epsilon, 1 / epsilon) <= tolerance
    return torch.float32 if exact else torch.float64


def _per_backend() -> tuple[str, str]:
    return _BACKENDS.cuda.matmul.fp32_precision, _BACKENDS.mkldnn.matmul.fp32_precision


def _set_per_backend(cuda: str, mkldnn: str) -> None:
    _BACKENDS.cuda.matmul.fp32_precision = cuda
    _BACKENDS.mkldnn.matmul.fp32_precision = mkldnn


class _Switch:
    """The setting of the process, changed by the first who enters and restored by the last who leaves."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: tuple[str, ...] | None = None

    def enter(self) -> None:
        with self._lock:
            self._inside += 1
            if not rounds_products():
                return
            if self._before is None:
                self._before = _per_backend() if _PER_BACKEND else (torch.get_float32_matmul_precision(),)
            if _PER_BACKEND:
                _set_per_backend("ieee", "ieee")
            else:
                torch.set_float32_matmul_precision("highest")

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside or self._before is None:
                return
            before, self._before = self._before, None
            # A setting that was changed meanwhile is what its owner wants from now on.
            if rounds_products():
                return
            if _PER_BACKEND:
                cuda, mkldnn = before
                _set_per_backend(cuda, mkldnn)
            else:
                torch.set_float32_matmul_precision(before[0])


_SWITCH = _Switch()
