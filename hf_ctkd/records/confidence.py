"""A measured value with its confidence interval, and a share of rows from which both follow."""

from dataclasses import dataclass

from hf_ctkd.errors import InvalidArgumentError


@dataclass(frozen=True)
class Confidence:
    """A measured value with its confidence interval, if one was computed.

    Args:
        value: the point estimate.
        low: lower end of the interval; None without one.
        high: upper end of the interval; None without one.
        level: coverage, in (0, 1).

    Raises:
        InvalidArgumentError: if the interval has one end only, or ends before it begins.
    """

    value: float
    low: float | None = None
    high: float | None = None
    level: float = 0.95

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise InvalidArgumentError(
                f"`low` and `high` must both be numbers or both None, got {self.low, self.high}."
            )
        if self.low is not None and self.high is not None and self.low > self.high:
            raise InvalidArgumentError(f"`low` must be at most `high` = {self.high}, got {self.low}.")
        if not 0 < self.level < 1:
            raise InvalidArgumentError(f"`level` must lie in (0, 1), got {self.level}.")

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends, or None."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def wide_interval(self) -> tuple[float, float] | None:
        """Both ends, or None, also where they are the same: such an interval says nothing of other rows."""
        return None if self.interval is None or self.low == self.high else self.interval

    @property
    def always_zero(self) -> bool:
        """Whether it is the difference of two models that do alike on every row: no resample tells them apart."""
        return self.value == 0 and self.interval == (0, 0)

    def text(self, *, sign: bool = False) -> str:
        """The value with three decimals, and its interval in brackets where that has a width.

        Args:
            sign: whether to write the sign of positive numbers too, as a difference needs it.

        Example:
            >>> Confidence(0.9, 0.85, 0.93).text(), Confidence(0.02).text(sign=True)
            ('0.900 [0.850, 0.930]', '+0.020')
        """
        value = three_decimals(self.value, sign=sign)
        if self.wide_interval is None:
            return value
        low, high = (three_decimals(end, sign=sign) for end in self.wide_interval)
        return f"{value} [{low}, {high}]"


def three_decimals(value: float, *, sign: bool = False) -> str:
    """A number with three decimals; one that is rounded to zero has no minus.

    Args:
        value: the number.
        sign: whether to write the sign of positive numbers too.
    """
    return format(round(value, 3) + 0.0, "+.3f" if sign else ".3f")  # -0.0 + 0.0 is 0.0


@dataclass(frozen=True)
class Proportion:
    """How many rows of some are right.

    Args:
        right: of them.
        rows: all of them, 1 or more.

    Raises:
        InvalidArgumentError: if there are no rows, or more right ones than rows.
    """

    right: int
    rows: int

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise InvalidArgumentError(f"`rows` must be at least 1, got {self.rows}.")
        if not 0 <= self.right <= self.rows:
            raise InvalidArgumentError(f"`right` must lie between 0 and `rows` = {self.rows}, got {self.right}.")

    def confidence(self) -> Confidence:
        """The share of right rows with its 95 % interval by Wilson, which has a width for a share of 0 or 1 too.

        Example:
            >>> Proportion(48, 50).confidence().text()
            '0.960 [0.865, 0.989]'
        """
        from scipy.stats import binomtest  # takes half a second, and few programs read such an interval

        interval = binomtest(self.right, self.rows).proportion_ci(0.95, method="wilson")
        return Confidence(self.right / self.rows, float(interval.low), float(interval.high))
