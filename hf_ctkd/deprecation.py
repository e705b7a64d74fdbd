"""Old names keep working for a while; a warning names what to use instead, and the version without them."""

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_warned: set[str] = set()


def deprecated(
    name: str, *, removal: str, instead: str
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Decorate a public function or method that is going to be removed.

    Use it when a public name, or what it means, has to change. It warns with `FutureWarning`, which Python shows to
    users, at the first call of a process. Not for an argument or a setting: call `warn_deprecated` where it is read.

    Args:
        name: as users write it.
        removal: version without it, such as `"0.4.0"`; a test fails once it is reached.
        instead: what to write instead, as code in backticks.

    Example:
        >>> @deprecated("rank_all", removal="9.0.0", instead="`rank`")
        ... def rank_all(teachers):
        ...     return sorted(teachers)
    """

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        @functools.wraps(function)
        def wrapper(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            warn_deprecated(name, removal=removal, instead=instead)
            return function(*args, **kwargs)

        return wrapper

    return decorate


def warn_deprecated(name: str, *, removal: str, instead: str) -> None:
    """Warn once in a process that an argument or a setting is going to be removed, at the caller of the caller.

    Args:
        name: as users write it.
        removal: version without it, such as `"0.4.0"`; a test fails once it is reached.
        instead: what to write instead, as code in backticks.

    Example:
        >>> def rank(teachers, order=None):
        ...     if order is not None:
        ...         warn_deprecated("rank(order=...)", removal="9.0.0", instead="`rank(metric=...)`")
        ...     return sorted(teachers)
    """
    if name not in _warned:
        _warned.add(name)
        message = f"`{name}` is deprecated and will be removed in hf_ctkd {removal}. Use {instead}."
        warnings.warn(message, FutureWarning, stacklevel=3)
