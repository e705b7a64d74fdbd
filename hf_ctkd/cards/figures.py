"""The figures of a card: leaderboard of teachers, transport map, results, reliability, accuracy against cost."""

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

from hf_ctkd.cards.costs import Model, accuracy_over_costs, models_with_accuracy
from hf_ctkd.cards.markdown import plain
from hf_ctkd.errors import InvalidArgumentError, MissingExtraError
from hf_ctkd.records import (
    Confidence,
    DistillationRecord,
    Proportion,
    Reliability,
    TeacherRanking,
    TransportMap,
    drawable,
    parameter_count,
    write_bytes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEADERBOARD = "figures/leaderboard.png"
TRANSPORT_MAP = "figures/transport_map.png"
RESULTS = "figures/results.png"
RELIABILITY = "figures/reliability.png"
COSTS = "figures/costs.png"
FIGURES = (LEADERBOARD, TRANSPORT_MAP, RESULTS, RELIABILITY, COSTS)

MAX_CLASSES = 25
_STUDENT, _BASELINE = "#3d6b99", "#9a9a9a"
_TEACHERS = (
    ("s", "#d55e00"),
    ("^", "#009e73"),
    ("D", "#cc79a7"),
    ("v", "#e69f00"),
    ("P", "#56b4e9"),
    ("*", "#000000"),
    ("<", "#d55e00"),
    (">", "#009e73"),
)
"""Shapes and colours of as many teachers as are drawn, by Okabe and Ito, whom colour-blind readers can follow."""


def drawable_figures(record: DistillationRecord, ranking: TeacherRanking | None = None) -> tuple[str, ...]:
    """The figures that the records have data for, as paths relative to the card."""
    has_data = {
        LEADERBOARD: ranking is not None and bool(ranking.scored),
        TRANSPORT_MAP: record.transport_map is not None,
        RESULTS: bool(record.results),
        RELIABILITY: bool(record.results) and record.reliability is not None,
        COSTS: bool(accuracy_over_costs(record)),
    }
    return tuple(name for name in FIGURES if has_data[name])


def draw_figures(
    folder: Path | str, record: DistillationRecord, ranking: TeacherRanking | None = None
) -> tuple[str, ...]:
    """Draw every figure that the records have data for into `folder/figures`.

    Args:
        folder: the student's folder.
        record: how the student was made and what came out.
        ranking: how its teachers were chosen, if there was a selection.

    Returns:
        The files written, relative to the folder.

    Raises:
        MissingExtraError: if matplotlib is not installed.
        InvalidArgumentError: if the folder cannot be written.
    """
    names = drawable_figures(record, ranking)
    for name in names:
        if name == LEADERBOARD and ranking is not None:
            figure = leaderboard(ranking)
        elif name == TRANSPORT_MAP and record.transport_map is not None:
            figure = transport_map(record.transport_map)
        elif name == RELIABILITY and record.reliability is not None:
            figure = reliability_diagram(record.reliability, one_class_a_row=record.task.words.one_class_a_row)
        elif name == COSTS:
            figure = accuracy_against_cost(record)
        else:
            figure = results(record)
        write_bytes(Path(folder) / name, png(figure))
    return names


def leaderboard(ranking: TeacherRanking) -> "Figure":
    """The teachers by score, best on top.

    Raises:
        MissingExtraError: if matplotlib is not installed.
    """
    return ranking.plot()


def transport_map(map: TransportMap) -> "Figure":
    """How the teacher's classes are transported onto the task's, as a heatmap.

    Each cell is the share of all rows, in percent. Teacher classes are sorted by the target class that receives most of
    their mass, so a good correspondence forms a diagonal. At most the 25 classes with the largest mass are drawn on
    each side.

    Args:
        map: masses and names of the classes of both sides.

    Raises:
        MissingExtraError: if matplotlib is not installed.
    """
    rows, columns = drawn_classes(map)
    share = [[100 * map.mass[u][v] for v in columns] for u in rows]

    figure = new_figure(3.2 + 0.36 * len(columns), 2.2 + 0.3 * len(rows))
    axes = figure.add_subplot()
    image = axes.imshow(share, cmap="Blues", aspect="auto", vmin=0)
    _target_names(axes, [drawable(map.target_labels[v], 24, f"class {v}") for v in columns])
    axes.set_yticks(range(len(rows)), [drawable(map.teacher_labels[u], 28, f"class {u}") for u in rows])
    axes.set_xlabel("classes of this task")
    axes.set_ylabel("classes of the teacher")
    axes.spines[:].set_visible(False)
    axes.set_xticks([v - 0.5 for v in range(1, len(columns))], minor=True)
    axes.set_yticks([u - 0.5 for u in range(1, len(rows))], minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0)
    _write_shares(axes, share)
    figure.colorbar(image, ax=axes, label="% of all rows", fraction=0.05, pad=0.02).outline.set_visible(False)
    figure.suptitle(_map_title(map, rows, columns), fontsize=10)
    return figure


def drawn_classes(map: TransportMap) -> tuple[list[int], list[int]]:
    """The classes that a picture of a map shows: at most 25 of each side, those with the largest mass.

    Args:
        map: masses and names of the classes of both sides.

    Returns:
        Numbers of the teacher's classes, sorted by the target class that receives most of their mass, and of the
        target's.
    """
    rows = _heaviest([sum(row) for row in map.mass])
    columns = _heaviest([sum(row[v] for row in map.mass) for v in range(len(map.target_labels))])
    rows.sort(key=lambda u: _destination([map.mass[u][v] for v in columns]))
    return rows, columns


def results(record: DistillationRecord) -> "Figure":
    """Each metric of the student with its interval if it has one, beside the same student trained without distillation.

    Raises:
        InvalidArgumentError: if there are no results.
        MissingExtraError: if matplotlib is not installed.
    """
    if not record.results:
        raise InvalidArgumentError("`record` has no results to draw. Evaluate the student first.")
    names = list(record.results)
    figure = new_figure(6.4, 1.3 + 0.75 * len(names))
    axes = figure.add_subplot()
    for label, measured, color, shift in (
        ("student", record.results, _STUDENT, -0.14),
        ("without distillation", record.baseline, _BASELINE, 0.14),
    ):
        points = [(row, measured[name]) for row, name in enumerate(names) if name in measured]
        if not points:
            continue
        heights = [row + (shift if record.baseline else 0) for row, _ in points]
        values = [value.value for _, value in points]
        reach = list(zip(*(_reach(value) for _, value in points), strict=True))
        axes.errorbar(values, heights, xerr=reach, fmt="o", color=color, capsize=3, label=label)
        for height, value in zip(heights, values, strict=True):
            axes.annotate(f"{value:.3f}", (value, height), (0, 5), textcoords="offset points", ha="center", fontsize=8)
    axes.set_yticks(range(len(names)), [drawable(name, 28) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(f"on {record.task.eval_rows} rows" + (", bars: intervals" if record.confidence_levels else ""))
    axes.grid(axis="x", color="#e5e5e5")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    if record.baseline:
        figure.legend(loc="outside upper right", ncols=2, frameon=False, fontsize=9)
    return figure


def reliability_diagram(measured: Reliability, *, one_class_a_row: bool = True) -> "Figure":
    """Accuracy against confidence in each bin, with 95 % intervals, above the number of decisions in it.

    On the diagonal both agree; below it the student is too sure.

    Args:
        measured: the bins.
        one_class_a_row: whether a decision is the class of a row, or whether a row has one of several classes.

    Raises:
        MissingExtraError: if matplotlib is not installed.
    """
    figure = new_figure(5.2, 4.8)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color=_BASELINE, linewidth=1, linestyle="--")
    shares = [Proportion(round(each.accuracy * each.count), each.count).confidence() for each in measured.bins]
    upper.errorbar(
        [each.confidence for each in measured.bins],
        [share.value for share in shares],
        yerr=list(zip(*(_reach(share) for share in shares), strict=True)),
        fmt="o",
        color=_STUDENT,
        capsize=3,
    )
    width = 1 / measured.bin_count
    left = [width * min(int(each.confidence / width), measured.bin_count - 1) for each in measured.bins]
    bars = lower.bar(
        left, [each.count for each in measured.bins], width, align="edge", color=_STUDENT, edgecolor="white"
    )
    lower.bar_label(bars, fmt=_in_thousands, fontsize=7)
    lower.margins(y=0.2)
    for x, y, side, text in (
        (0.02, 0.98, "left", "probability too low"),
        (0.98, 0.02, "right", "probability too high"),
    ):
        upper.text(x, y, text, ha=side, va="center", fontsize=8, color="#555555")
    upper.set(xlim=(0, 1), ylim=(-0.04, 1.04))
    upper.set_ylabel("accuracy, with 95 % intervals" if one_class_a_row else "share of rows that have the class")
    lower.set(
        xlabel="confidence: probability of the predicted class" if one_class_a_row else "probability of a class",
        ylabel="rows" if one_class_a_row else "decisions",
    )
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def accuracy_against_cost(record: DistillationRecord) -> "Figure":
    """Accuracy of the student, of the student without distillation and of its teachers over their size and speed.

    The accuracy of a teacher is that of linear probes of its layers. Of more than eight teachers, those with the most
    accurate probes are drawn.

    Args:
        record: how the student was made and what came out.

    Raises:
        InvalidArgumentError: if not both the student and a teacher have an accuracy.
        MissingExtraError: if matplotlib is not installed.
    """
    panels = accuracy_over_costs(record)
    if not panels:
        raise InvalidArgumentError("`record` has no teacher with accuracy and cost to draw. Use a loss with probes.")
    models = _drawn_models(record)
    figure = new_figure(7.4, 3.0 + 0.22 * len(models))
    drawn = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (cost, pairs) in zip(drawn, panels.items(), strict=True):
        costs = dict(pairs)
        for model, (marker, color) in models.items():
            if model in costs:
                _mark(axes, model, costs[model], marker, color)
        _logarithmic(axes, list(costs.values()), in_words=cost == "parameters")
        axes.margins(y=0.08)
        axes.set_xlabel(cost)
        axes.grid(color="#e5e5e5")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    drawn[0].set_ylabel("accuracy, with 95 % intervals")
    teachers = sum(model.is_teacher for model in models_with_accuracy(record))
    if teachers > len(_TEACHERS):
        title = f"the {len(_TEACHERS)} of {teachers} teachers with the most accurate probes"
        figure.suptitle(title, fontsize=10)
    _legend_below(figure)
    return figure


def png(figure: "Figure") -> bytes:
    """A figure as its file holds it, without the program that drew it.

    Args:
        figure: of matplotlib.
    """
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150, metadata={"Software": None})
    return picture.getvalue()


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure.

    Args:
        width: in inches.
        height: in inches.

    Raises:
        MissingExtraError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("Figures need matplotlib. Install it with `pip install hf_ctkd[plots]`.") from error
    return Figure(figsize=(width, height), layout="constrained")


def _in_thousands(count: float) -> str:
    """A number of rows that fits above its bar."""
    return f"{count:.0f}" if count < 10_000 else f"{count / 1000:.0f}k"


def _drawn_models(record: DistillationRecord) -> dict[Model, tuple[str, str]]:
    """The models of the picture of costs -> shape and colour: the student's, and the most accurate teachers."""
    models = models_with_accuracy(record)
    students = [model for model in models if not model.is_teacher]
    values = {model: model.accuracy.value for model in models if model.is_teacher and model.accuracy is not None}
    best = sorted(values, key=values.__getitem__, reverse=True)
    return dict(zip((*students, *best), (("o", _STUDENT), ("x", _BASELINE))[: len(students)] + _TEACHERS, strict=False))


def _mark(axes: "Axes", model: Model, cost: float, marker: str, color: str) -> None:
    if model.accuracy is None:
        return
    reach = [[side] for side in _reach(model.accuracy)]
    label = f"{drawable(plain(model.name), 60)}{', by linear probes' if model.is_teacher else ''}"
    axes.errorbar([cost], [model.accuracy.value], yerr=reach, fmt=marker, color=color, capsize=3, label=label)


def _legend_below(figure: "Figure") -> None:
    """One legend for all panels, of which each may lack a model."""
    pairs = (zip(*axes.get_legend_handles_labels(), strict=True) for axes in figure.axes)
    handles = {label: handle for panel in pairs for handle, label in panel}
    figure.legend(handles.values(), handles.keys(), loc="outside lower left", frameon=False, fontsize=9)


def _logarithmic(axes: "Axes", costs: list[float], *, in_words: bool) -> None:
    """A horizontal axis in ratios, of a power of ten or more, with round numbers; thousands `in_words` as 10k."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    margin = max(1.4, math.sqrt(10 * min(costs) / max(costs)))
    axes.set_xscale("log")
    axes.set_xlim(min(costs) / margin, max(costs) * margin)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(costs) < 100 * min(costs) else (1,)))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda cost, _: parameter_count(round(cost)) if in_words and cost >= 1000 else f"{cost:g}")
    )
    axes.xaxis.set_minor_locator(NullLocator())


def _heaviest(masses: list[float]) -> list[int]:
    best = sorted(range(len(masses)), key=lambda index: -masses[index])[:MAX_CLASSES]
    return sorted(best)


def _destination(row: list[float]) -> int:
    return row.index(max(row)) if max(row) > 0 else len(row)


def _reach(measured: Confidence) -> tuple[float, float]:
    """How far the interval goes to either side; no numbers without one, so that no bar is drawn."""
    if measured.interval is None:
        return math.nan, math.nan
    low, high = measured.interval
    # A percentile interval may lie to one side of its estimate, and matplotlib refuses a bar of negative length.
    return max(0.0, measured.value - low), max(0.0, high - measured.value)


def _target_names(axes: "Axes", names: list[str]) -> None:
    axes.set_xticks(range(len(names)), names)
    axes.tick_params(length=0)
    if max(len(name) for name in names) > 3:
        for label in axes.get_xticklabels():
            label.set(rotation=50, ha="right", rotation_mode="anchor")


def _write_shares(axes: "Axes", share: list[list[float]]) -> None:
    if max(len(share), len(share[0])) > 12:
        return
    highest = max(max(row) for row in share)
    for u, row in enumerate(share):
        for v, value in enumerate(row):
            if value >= 0.5:
                color = "white" if value > 0.6 * highest else "#333333"
                axes.text(v, u, f"{value:.0f}", ha="center", va="center", fontsize=8, color=color)


def _map_title(map: TransportMap, rows: list[int], columns: list[int]) -> str:
    title = f"From {drawable(plain(map.teacher), 60)}"
    complete = len(rows) == len(map.teacher_labels) and len(columns) == len(map.target_labels)
    if complete:
        return title
    covered = 100 * sum(map.mass[u][v] for u in rows for v in columns)
    return (
        f"{title}\nthe {len(rows)} of {len(map.teacher_labels)} by {len(columns)} of {len(map.target_labels)} "
        f"largest classes, {covered:.0f} % of the rows"
    )
