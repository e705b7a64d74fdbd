"""What a selection may spend, and what it has spent."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Literal

from hf_ctkd.errors import InvalidArgumentError

Limit = Literal["seconds", "forwards"]
"""What may end a run; a download beyond the bytes that are left is no end, as others may be smaller."""


@dataclass(frozen=True)
class SelectionBudget:
    """What `TeacherSelector` may spend; it then scores promising teachers on more rows than others.

    Use it where there are more candidates than can be scored on all rows. The run ends as soon as it is clear enough
    which teacher is the best, or when a limit is reached. It exceeds `seconds` by the teachers that are being scored at
    most, and by the student, which is scored on the rows of the first teacher then; the other limits, which count
    teachers alone, it never exceeds. A teacher on fewer rows than the first is listed after it, and not compared with
    the student, as scores grow with the number of rows. Without a budget every candidate is scored on all rows.

    Several `processes` or an `executor` share the teachers of each set of rows, and rank as one process does if
    `forwards` or `bytes` are limited. Within the same `seconds` they score more, so that the ranking may be another.

    Args:
        seconds: from the start of the ranking, downloads included; None for no limit.
        forwards: rows that are run through teachers, all together; rows of the cache count too, so that the outcome
            does not depend on it. None for no limit.
        bytes: of files that are downloaded; None for no limit.

    Raises:
        InvalidArgumentError: if no limit is given, or one is not positive and finite.

    Example:
        >>> selector = TeacherSelector(budget=SelectionBudget(seconds=600, bytes=5 * 10**9))  # doctest: +SKIP
        >>> ranking = selector.rank(hub_teachers(task="image-classification"), flowers["train"])  # doctest: +SKIP
    """

    seconds: float | int | None = None
    forwards: int | None = None
    bytes: int | None = None

    def __post_init__(self) -> None:
        limits = asdict(self)
        if all(limit is None for limit in limits.values()):
            raise InvalidArgumentError("A budget must have a limit, got none. Give `seconds`, `forwards` or `bytes`.")
        for name, limit in limits.items():
            if limit is None:
                continue
            # Records hold the limits, and JSON has no infinity.
            if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit < math.inf:
                raise InvalidArgumentError(
                    f"`{name}` of a budget must be a positive and finite number, got {limit!r}. Leave it out for no "
                    "limit."
                )


@dataclass
class Meter:
    """What was spent of a budget so far.

    Args:
        budget: the limits.
        clock: gives seconds; on several processes the same on each.
        forwards: rows that were run through teachers.
        bytes: that were downloaded.
    """

    budget: SelectionBudget
    clock: Callable[[], float] = time.monotonic
    forwards: int = 0
    bytes: int = 0
    start: float = field(init=False)

    def __post_init__(self) -> None:
        self.start = self.clock()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return self.clock() - self.start

    @property
    def bytes_left(self) -> int | None:
        """That may still be downloaded; None without a limit."""
        return None if self.budget.bytes is None else self.budget.bytes - self.bytes

    def reached(self, *, forwards: int = 0) -> Limit | None:
        """The limit that forbids to score another teacher; None if it is allowed.

        Args:
            forwards: rows about to be run.
        """
        budget = self.budget
        if budget.seconds is not None and self.seconds >= budget.seconds:
            return "seconds"
        if budget.forwards is not None and self.forwards + forwards > budget.forwards:
            return "forwards"
        return None

    def spend(self, *, forwards: int = 0, bytes: int = 0) -> None:  # noqa: A002 (as in the budget)
        """Count what was spent.

        Args:
            forwards: rows that were run.
            bytes: that were downloaded.
        """
        self.forwards += forwards
        self.bytes += bytes
