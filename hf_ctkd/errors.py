"""The exceptions that a user of this library may want to catch.

Every error raised on purpose derives from `CTKDError`; the command line turns these, and
only these, into one readable line.
"""


class CTKDError(Exception):
    """Base of every error that this library raises on purpose."""


class InvalidArgumentError(CTKDError, ValueError):
    """An argument has a value that cannot be used; the message names it, says what was expected and what to do."""


class DatasetError(CTKDError, ValueError):
    """A data set cannot be used as it is: a column is missing, a row is corrupt, a class is too small."""


class TeacherUnavailableError(CTKDError):
    """A teacher cannot be used: gated, missing, broken, too large or unsafe to load.

    `TeacherSelector` records `str(error)` in the ranking and goes on with the next teacher.
    """


class NoTeacherLeftError(CTKDError):
    """Every candidate was skipped; the message lists why each one fell."""


class NotConvergedError(CTKDError, RuntimeError):
    """An iterative solver stopped before it reached its tolerance."""


class StaleCacheError(CTKDError):
    """Cached teacher outputs do not belong to the data, teacher or preprocessing that asked for them."""


class PublishingError(CTKDError):
    """A student's folder cannot be published as it is, or the Hub refused it."""


class MissingExtraError(CTKDError, ImportError):
    """An optional package is needed; the message names the extra that installs it."""
