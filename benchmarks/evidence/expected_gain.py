"""How well a ranking predicts what a teacher adds: a line from scores to outcomes, judged on tasks it has not seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

from benchmarks.evidence.grid import DEFAULT
from benchmarks.evidence.pretrained_cell import CELLS, CONTROL, SEEDS, Cell, Workplace, task_with
from benchmarks.evidence.report import table
from benchmarks.evidence.store import Store
from benchmarks.evidence.student import task_of
from hf_ctkd.records import expected_gain
from hf_ctkd.records.expected_gain import METRIC
from hf_ctkd.selection import TeacherSelector

BEGIN, END = "<!-- gain:begin -->", "<!-- gain:end -->"
GAPS = ("key", "cell", "seed", "score", "baseline", "rows", "labelled")
BASELINES = ("key", "task", "labels", "seed", "rows", "labelled", "value")
WITHOUT_TEACHER = "input features, transported"
COVERAGE = 0.95


@dataclass(frozen=True)
class Line:
    """Points of accuracy = intercept + slope x gap, and how far it was off on tasks that it had not seen.

    Args:
        slope: points for a gap of one, with all rows without a label.
        intercept: points where the teacher knows no more than the input features.
        half_width: the distance that 95 % of the outcomes of unseen tasks keep to the line.
        largest_gap: of the outcomes.
        error: root mean squared error on unseen tasks, points.
        error_of_mean: the same for a prediction that ignores the teacher.
        pairs: teachers x cells x seeds that it rests on.
        tasks: that it rests on.
    """

    slope: float
    intercept: float
    half_width: float
    largest_gap: float
    error: float
    error_of_mean: float
    pairs: int
    tasks: int


def measure_baselines(results: Path, runs: pandas.DataFrame) -> pandas.DataFrame:
    """The information gain of the input features in every cell and seed of the runs; what is missing is computed now.

    Args:
        results: folder of the tables.
        runs: of the suite.
    """
    store = Store(results, "baselines", BASELINES)
    done = store.done()
    cells = runs[runs["method"] == DEFAULT][["task", "labels", "seed"]].drop_duplicates()
    for task, labels, seed in cells.itertuples(index=False):
        key = f"{task}-{labels}-{seed}"
        if key not in done:
            store.add(key, [{"key": key, **_baseline(task, int(labels), int(seed))}])
    frame = pandas.DataFrame(store.merge())
    return frame.astype({"seed": int, "rows": int, "labelled": int, "value": float})


def _baseline(name: str, labels: int, seed: int) -> dict[str, object]:
    task = task_of(name, labels, seed)
    ranking = TeacherSelector(METRIC, metrics=(), seed=seed, progress=False).rank([], task.labelled)
    assert ranking.baseline is not None
    return {
        "task": name,
        "labels": labels,
        "seed": seed,
        "rows": len(task.train()),
        "labelled": len(task.labelled),
        "value": ranking.baseline.scores[METRIC],
    }


def outcomes(runs: pandas.DataFrame, scores: pandas.DataFrame, baselines: pandas.DataFrame) -> pandas.DataFrame:
    """One row a teacher, cell and seed: the gap that a ranking shows, and the points over the student without teacher.

    Args:
        runs: of the suite at the tuned number of steps.
        scores: of its teachers.
        baselines: of `measure_baselines`.
    """
    pair = ["task", "labels", "seed"]
    runs, scores, baselines = (frame.assign(labels=frame["labels"].astype(str)) for frame in (runs, scores, baselines))
    without = runs[runs["method"] == WITHOUT_TEACHER].set_index(pair)["accuracy"].rename("without")
    by_metric = scores[scores["metric"] == METRIC].set_index([*pair, "teacher"])["value"].rename("score")
    frame = runs[runs["method"] == DEFAULT].join(without, on=pair).join(by_metric, on=[*pair, "teacher"])
    frame = frame.merge(baselines[[*pair, "rows", "labelled", "value"]], on=pair)
    gap = (frame["score"] - frame["value"]).clip(lower=0) * (1 - frame["labelled"] / frame["rows"])
    frame = frame.assign(gap=gap, points=frame["accuracy"] - frame["without"])
    return frame.dropna(subset=["gap", "points"])


def fit(frame: pandas.DataFrame, outcome: str = "points") -> Line:
    """The line through all outcomes; its error is that of lines which did not see the task.

    Args:
        frame: of `outcomes`, of two tasks at least.
        outcome: column that the gap is to predict.
    """
    gaps, points, tasks = frame[["gap"]].to_numpy(), frame[outcome].to_numpy(), frame["task"].to_numpy()
    errors = points - cross_val_predict(LinearRegression(), gaps, points, groups=tasks, cv=LeaveOneGroupOut())
    nothing = np.zeros_like(gaps)
    of_mean = points - cross_val_predict(LinearRegression(), nothing, points, groups=tasks, cv=LeaveOneGroupOut())
    line = LinearRegression().fit(gaps, points)
    return Line(
        float(line.coef_[0]),
        float(line.intercept_),
        float(np.quantile(np.abs(errors), COVERAGE)),
        float(gaps.max()),
        float(np.sqrt(np.mean(errors**2))),
        float(np.sqrt(np.mean(of_mean**2))),
        len(frame),
        len(set(tasks)),
    )


def measure_gaps(workplace: Workplace) -> pandas.DataFrame:
    """What rankings say before training in the cells of pretrained students that can run on this machine.

    Args:
        workplace: their models and results; what is missing is computed now.
    """
    store = Store(workplace.folder, "gaps", GAPS)
    done = store.done()
    for cell, seed in [(cell, seed) for cell in workplace.cells for seed in SEEDS]:
        key = f"{cell.name}-{seed}"
        if key not in done:
            store.add(key, [{"key": key, "cell": cell.name, "seed": seed, **_gap(workplace, cell, seed)}])
    frame = pandas.DataFrame(store.merge(), columns=GAPS)
    return frame.astype({"seed": int, "score": float, "baseline": float, "rows": int, "labelled": int})


def _gap(workplace: Workplace, cell: Cell, seed: int) -> dict[str, object]:
    rows = task_with(cell.task, cell.labels[0], seed).train()
    selector = TeacherSelector(METRIC, metrics=(), student=workplace.model(cell.student), seed=seed, progress=False)
    ranking = selector.rank([workplace.model(cell.teacher)], rows)
    assert ranking.baseline is not None
    return {
        "score": ranking.scored[0].scores[METRIC],
        "baseline": ranking.baseline.scores[METRIC],
        "rows": ranking.dataset["rows"],
        "labelled": ranking.dataset["labelled_rows"],
    }


def unseen_table(gaps: pandas.DataFrame, runs: pandas.DataFrame) -> str:
    """What the line predicts for pretrained students, on which it was not fitted, and what came out.

    Args:
        gaps: of `measure_gaps`.
        runs: of pretrained students.
    """
    rows = []
    for row in gaps.itertuples():
        labels = next(cell.labels[0] for cell in CELLS if cell.name == row.cell)
        part = runs[(runs["cell"] == row.cell) & (runs["labels"] == labels) & (runs["seed"] == row.seed)]
        accuracy = part.set_index("arm")["accuracy"]
        if {DEFAULT, CONTROL} <= set(accuracy.index):
            predicted = expected_gain(row.score, row.baseline, row.labelled / row.rows)
            rows.append([row.cell, row.seed, predicted or "-", f"{100 * (accuracy[DEFAULT] - accuracy[CONTROL]):+.1f}"])
    return table(["cell", "seed", "predicted", "measured"], rows)


def section(frame: pandas.DataFrame, unseen: str) -> str:
    """The section of `RESULTS.md`: the line, its error, and the outcomes by the size of the gap.

    Args:
        frame: of `outcomes`.
        unseen: of `unseen_table`.
    """
    line, over_plain = fit(frame), fit(frame, "gain")
    edges = (-1.0, 0.0, 0.05, 0.1, 0.2, 1.0)
    bins = pandas.cut(frame["gap"], edges, labels=["none", "up to .05", ".05 to .1", ".1 to .2", "above .2"])
    groups = frame.groupby(bins, observed=True)["points"]
    rows: Sequence[Sequence[object]] = [
        [name, len(part), f"{part.mean():+.1f}", f"{part.min():+.1f} to {part.max():+.1f}"] for name, part in groups
    ]
    return "\n".join(
        [
            BEGIN,
            "## What a ranking predicts\n",
            "Written by `python -m benchmarks.evidence gain`. Points of accuracy that the default gains with a teacher "
            f"over the same student without one (*{WITHOUT_TEACHER}*), against the *gap*: the teacher's information "
            "gain minus that of the input features, where positive, times the share of rows without a label. The line "
            f"is points = {line.intercept:.1f} + {line.slope:.1f} x gap, from {line.pairs} outcomes on {line.tasks} "
            f"tasks with gaps of up to {line.largest_gap:.2f}, random weights included. On tasks that it was not "
            f"fitted to it is off by {line.error:.1f} points (root mean square), the mean of the other tasks by "
            f"{line.error_of_mean:.1f}; "
            f"95 % of the outcomes lie within {line.half_width:.1f} points. The gain over *plain training* is hardly "
            f"predicted: such a line is off by {over_plain.error:.1f} points there, the mean by "
            f"{over_plain.error_of_mean:.1f}. All students start from nothing.\n",
            table(["gap", "outcomes", "mean points", "range"], rows),
            "\nA check on *pretrained* students, on which it was not fitted: the default over the same student taught "
            "by its own frozen layers.\n",
            unseen,
            END,
        ]
    ) + "\n"  # fmt: skip
