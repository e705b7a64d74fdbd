"""How a contract complains."""


def expect(kept: bool, promise: str) -> None:
    """Raise AssertionError with the promise that was broken.

    Args:
        kept: whether it was kept.
        promise: what a method must do.
    """
    if not kept:
        raise AssertionError(promise)
