"""Where the marks of a chart stand: axes with round numbers, points of a scatter plot, cells of a transport map.

The page draws them as SVG through its template, so that lines and text follow the colours of the reader's browser,
light or dark. matplotlib's SVG has fixed colours, and the page would need an extra that is not installed by default.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hf_ctkd.cards.figures import drawn_classes
from hf_ctkd.cards.markdown import plain
from hf_ctkd.records import TransportMap

_STEPS = (1.0, 2.0, 5.0, 10.0)
_MARGIN = 0.05
"""Of the range of an axis, left free on either side."""
_LETTER, _LINE = 6.6, 15.0
"""Width and height of a letter in the charts, in pixels."""
_LABELLED = 6


@dataclass(frozen=True)
class Axis:
    """A range of numbers on a line.

    Args:
        low: number at its beginning; its logarithm to base 10 on a logarithmic axis.
        high: number at its end, greater.
        logarithmic: whether distances are ratios.
    """

    low: float
    high: float
    logarithmic: bool = False

    @classmethod
    def around(cls, values: Sequence[float], *, logarithmic: bool = False) -> "Axis":
        """An axis that holds some numbers, with a margin.

        Args:
            values: at least one; positive on a logarithmic axis.
            logarithmic: whether distances are ratios.
        """
        numbers = [math.log10(value) for value in values] if logarithmic else list(values)
        low, high = min(numbers), max(numbers)
        margin = _MARGIN * (high - low) or 0.5
        return cls(low - margin, high + margin, logarithmic)

    def share(self, value: float) -> float:
        """Where a number stands, from 0 at the beginning of the axis to 1 at its end.

        Args:
            value: the number, which may be outside.
        """
        number = math.log10(value) if self.logarithmic else value
        return (number - self.low) / (self.high - self.low)

    def ticks(self, count: int = 5) -> list[float]:
        """Round numbers on the axis, in ascending order.

        Args:
            count: about how many.
        """
        if self.logarithmic:
            powers = range(math.ceil(self.low), math.floor(self.high) + 1)
            if len(powers) >= 2:
                return [10.0**power for power in powers[:: -(-len(powers) // count)]]
            return Axis(10**self.low, 10**self.high).ticks(count)
        step = _round_step((self.high - self.low) / count)
        first = math.ceil(self.low / step)
        return [step * number for number in range(first, math.floor(self.high / step) + 1)]


def _round_step(width: float) -> float:
    power = 10.0 ** math.floor(math.log10(width))
    return next(step * power for step in _STEPS if step * power >= width * 0.999)


@dataclass(frozen=True)
class Point:
    """One teacher of a scatter plot.

    Args:
        name: of the teacher.
        cost: what it costs, positive.
        score: what it is worth.
        control: whether it is there for comparison alone.
    """

    name: str
    cost: float
    score: float
    control: bool = False


@dataclass(frozen=True)
class Label:
    """A name beside a point.

    Args:
        text: shortened name.
        x: of its beginning or its end.
        y: of its base line.
        anchor: `"start"`, or `"end"` where it stands to the left of its point.
    """

    text: str
    x: float
    y: float
    anchor: str


@dataclass(frozen=True)
class Scatter:
    """Cost against score, in pixels.

    Args:
        points: all of them.
        width: of the field that holds the points.
        height: of the same.
    """

    points: Sequence[Point]
    width: float = 430.0
    height: float = 250.0

    @property
    def costs(self) -> Axis:
        """The horizontal axis: costs differ by orders of magnitude."""
        return Axis.around([point.cost for point in self.points], logarithmic=True)

    @property
    def scores(self) -> Axis:
        """The vertical axis."""
        return Axis.around([point.score for point in self.points])

    def place(self, point: Point) -> tuple[float, float]:
        """Where a point stands.

        Args:
            point: one of the plot's.
        """
        return self.width * self.costs.share(point.cost), self.height * (1 - self.scores.share(point.score))

    @property
    def front(self) -> list[Point]:
        """Teachers such that none is both cheaper and better, cheapest first; controls left out."""
        front: list[Point] = []
        for point in sorted(self.points, key=lambda point: (point.cost, -point.score)):
            if not point.control and (not front or point.score > front[-1].score):
                front.append(point)
        return front

    @property
    def labels(self) -> list[Label]:
        """Names of the best teachers of the front, where they do not cover one another."""
        labels: list[Label] = []
        boxes: list[tuple[float, float, float]] = []
        for point in sorted(self.front, key=lambda point: -point.score)[:_LABELLED]:
            x, y = self.place(point)
            text = shortened(point.name, 26)
            length = _LETTER * len(text)
            left = x + 9 + length > self.width
            begin = max(0.0, x - 9 - length) if left else x + 9
            if any(abs(y - other) < _LINE and begin < end and start < begin + length for other, start, end in boxes):
                continue
            boxes.append((y, begin, begin + length))
            labels.append(Label(text, begin + length if left else begin, y + 4, "end" if left else "start"))
        return labels


@dataclass(frozen=True)
class Cell:
    """One cell of a transport map.

    Args:
        row: its row.
        column: its column.
        share: of all rows, in percent.
        strength: the same relative to the largest, from 0 to 1.
        title: what it means, in words.
    """

    row: int
    column: int
    share: float
    strength: float
    title: str


@dataclass(frozen=True)
class HeatMap:
    """A transport map as a table of cells, the classes with the largest mass first to be drawn.

    Args:
        rows: names of classes of the teacher.
        columns: names of classes of the task.
        cells: those with any mass.
        complete: whether all classes are there.
    """

    rows: list[str]
    columns: list[str]
    cells: list[Cell]
    complete: bool

    @classmethod
    def of(cls, transport_map: TransportMap) -> "HeatMap":
        """From the map of a record.

        Args:
            transport_map: masses and names of the classes of both sides.
        """
        rows, columns = drawn_classes(transport_map)
        mass = transport_map.mass
        highest = max(mass[u][v] for u in rows for v in columns) or 1.0
        names = [plain(name) for name in transport_map.teacher_labels], [plain(n) for n in transport_map.target_labels]
        cells = [
            Cell(
                row,
                column,
                100 * mass[u][v],
                mass[u][v] / highest,
                f"{names[0][u]} to {names[1][v]}: {100 * mass[u][v]:.1f} % of all rows",
            )
            for row, u in enumerate(rows)
            for column, v in enumerate(columns)
            if mass[u][v] > 0
        ]
        complete = len(rows) == len(names[0]) and len(columns) == len(names[1])
        short = [shortened(names[0][u], 26) for u in rows], [shortened(names[1][v], 20) for v in columns]
        return cls(*short, cells, complete)

    @property
    def left(self) -> float:
        """Room for the names of the rows, in pixels."""
        return _LETTER * max(map(len, self.rows)) + 14

    @property
    def top(self) -> float:
        """Room for the slanted names of the columns, in pixels."""
        return 0.72 * _LETTER * max(map(len, self.columns)) + 24


def shortened(text: str, limit: int) -> str:
    """A name on one line, cut in its middle, where the names of checkpoints differ least.

    Args:
        text: the name.
        limit: most characters, at least 3.

    Example:
        >>> shortened("organisation/model-large-patch16", 20)
        'organisat…ge-patch16'
    """
    line = plain(text)
    head = (limit - 1) // 2
    return line if len(line) <= limit else f"{line[:head]}…{line[-(limit - 1 - head) :]}"
