"""How a contract complains."""

from typing import TypeVar

Value = TypeVar("Value")


def expect(holds: bool, promise: str) -> None:
    """Raise AssertionError with the promise that was broken.

    Args:
        holds: whether it holds.
        promise: what a method must do.
    """
    if not holds:
        raise AssertionError(promise)


def present(value: Value | None, promise: str) -> Value:
    """The value, or AssertionError with the promise that was broken where there is none.

    Args:
        value: what must be there.
        promise: what a method must do.
    """
    if value is None:
        raise AssertionError(promise)
    return value
