"""The exceptions that a user of this library may want to catch.

Every error raised on purpose derives from `CTKDError`; the command line turns these, and
only these, into one readable line.
"""

import pkgutil
from enum import Enum
from typing import Any


class CTKDError(Exception):
    """Base of every error that this library raises on purpose."""


class InvalidArgumentError(CTKDError, ValueError):
    """An argument has a value that cannot be used; the message names it, says what was expected and what to do."""


class DatasetError(CTKDError, ValueError):
    """A data set cannot be used as it is: a column is missing, a row is corrupt, a class is too small."""


class ProblemCode(str, Enum):
    """Why a teacher cannot be used, for programs; the message beside it is for people and may be reworded.

    Example:
        >>> ProblemCode("gated") is ProblemCode.GATED
        True
    """

    UNKNOWN = "unknown"
    """A reason without a code of its own."""
    GATED = "gated"
    """The Hub asks for an access request first."""
    NOT_FOUND = "not_found"
    """No such repository, revision or folder, or a private repository."""
    DISABLED = "disabled"
    """The Hub has closed the repository."""
    HUB_FAILED = "hub_failed"
    """The Hub was out of reach, refused the request, or its answer made no sense."""
    NOT_PINNED = "not_pinned"
    """Nothing says which commit is meant."""
    NO_CONFIG = "no_config"
    """There is no `config.json`."""
    NO_WEIGHTS = "no_weights"
    """There are no weights that transformers opens."""
    PICKLE_ONLY = "pickle_only"
    """There are only pickle weights; `allow_pickle=True` lifts this problem, and no other."""
    BROKEN = "broken"
    """A file is unreadable, incomplete or inconsistent."""
    LFS_POINTER = "lfs_pointer"
    """A file is a pointer of Git LFS; the file itself was not downloaded."""
    TRUNCATED = "truncated"
    """Weights end before their last tensor does."""
    NOT_FINITE = "not_finite"
    """Weights or outputs are NaN or infinite."""
    TIMED_OUT = "timed_out"
    """Loading or running it took longer than `LoadOptions.timeout`."""
    CRASHED = "crashed"
    """It ended the process in which it was tried."""
    CHANGED = "changed"
    """Files of a folder differ from those that were listed."""
    TOO_LARGE = "too_large"
    """More bytes, parameters, classes, layers or pixels than allowed, or than fit the memory."""
    LICENSE = "license"
    """Another licence than the one that was asked for."""
    MISSING_PACKAGE = "missing_package"
    """It needs a package that is not installed; the message names it."""
    OUT_OF_BUDGET = "out_of_budget"
    """The budget of the selection was spent before, or does not suffice for its download."""
    INCOMPATIBLE = "incompatible"
    """It cannot be run on these rows or scored by this metric."""


class TeacherUnavailableError(CTKDError):
    """A teacher cannot be used: gated, missing, broken, too large or unsafe to load.

    `TeacherSelector` records `str(error)` in the ranking and goes on with the next teacher.

    Args:
        message: what is wrong and what to do.
        code: the kind of problem; decide by this, never by the message.
    """

    def __init__(self, message: str = "", code: ProblemCode = ProblemCode.UNKNOWN) -> None:
        super().__init__(message)
        self.code = code


class NoTeacherLeftError(CTKDError):
    """Every candidate was skipped; the message lists why each one fell."""


class NotConvergedError(CTKDError, RuntimeError):
    """An iterative solver stopped before it reached its tolerance."""


class DiskFullError(InvalidArgumentError):
    """A file cannot be written since the disk, or the user's share of it, is full."""


class StaleCacheError(CTKDError):
    """Cached teacher outputs do not belong to the data, teacher or preprocessing that asked for them."""


class PublishingError(CTKDError):
    """A student's folder cannot be published as it is, or the Hub refused it."""


class MissingExtraError(CTKDError, ImportError):
    """An optional package is needed; the message names the extra that installs it."""


def resolve_name(name: str, argument: str) -> Any:  # noqa: ANN401 (any object: the caller checks it)
    """The object behind `package.module:attribute`, as `pkgutil.resolve_name` finds it, with our error if it does not.

    Args:
        name: `package.module:attribute`.
        argument: that the user gave it for, for the message.

    Raises:
        InvalidArgumentError: if there is no such module, or no such attribute in it.

    Example:
        >>> resolve_name("math:pi", "metric")
        3.141592653589793
    """
    try:
        return pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidArgumentError(
            f"`{argument}` {name!r} cannot be imported: {error}. Put its module on the Python path."
        ) from error
