"""What each score costs, and how good the teachers of the zoo are at their own tasks, for the table of scores."""

import json
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas
from datasets import Dataset

from benchmarks.evidence.grid import CELLS, teachers_of
from benchmarks.evidence.run import Suite
from benchmarks.evidence.scores import METRICS
from benchmarks.evidence.store import Store
from benchmarks.evidence.student import candidates, task_of
from hf_ctkd.records import TeacherCandidate
from hf_ctkd.selection import TeacherSelector

COLUMNS = ("key", "metric", "task", "labels", "teachers", "rows", "bytes", "seconds")
OWN_COLUMNS = ("key", "teacher", "modality", "accuracy")
SOURCE_ACCURACY = "source accuracy"
"""The score that a leaderboard would give: the teacher's accuracy on held-out rows of its own task."""
REPEATS = 3
KNOWN = "teacher.json"
"""Beside each teacher of the zoo: what it was trained on, and how well."""


def costs(folder: Path) -> Store:
    """The table of what each score costs."""
    return Store(folder, "score_costs", COLUMNS)


def own_accuracies(folder: Path) -> Store:
    """The table of accuracies of teachers on their own tasks."""
    return Store(folder, "source_accuracies", OWN_COLUMNS)


def measure(suite: Suite) -> None:
    """Rank the teachers of the first cell of each kind of rows by each score alone, and write both tables.

    Nothing is cached, so that each ranking reads all teachers. Seconds are processor time on one thread, the median of
    three interleaved rankings.

    Args:
        suite: teachers and results.
    """
    cells = {suite.modality(cell.task): cell for cell in reversed(CELLS)}
    for kind, cell in cells.items():
        by_name = candidates(suite.run_settings.zoos[kind])
        teachers = [by_name[name] for name in teachers_of(kind, suite.full, suite.extras) if name in by_name]
        rows = task_of(cell.task, cell.labels, 0).labelled
        seconds: dict[str, list[float]] = {metric: [] for metric in METRICS}
        for metric in METRICS * REPEATS:
            seconds[metric].append(_seconds(metric, teachers, rows))
        read = {"rows": len(rows) * len(teachers), "bytes": sum(map(_weights, teachers)), "teachers": len(teachers)}
        described = {"task": cell.task, "labels": cell.labels, **read}
        for metric, values in seconds.items():
            key = f"{metric}-{kind}"
            median = round(statistics.median(values), 2)
            costs(suite.folder).add(key, [{"key": key, "metric": metric, **described, "seconds": median}])
        own_accuracies(suite.folder).add(kind, list(_own_accuracies(teachers, kind)))
    costs(suite.folder).merge()
    own_accuracies(suite.folder).merge()


def _seconds(metric: str, teachers: Sequence[TeacherCandidate], rows: Dataset) -> float:
    with tempfile.TemporaryDirectory() as cache:
        selector = TeacherSelector(metric, metrics=(metric,), cache_dir=Path(cache), progress=False)
        began = time.process_time()
        selector.rank(teachers, rows)
        return time.process_time() - began


def _weights(teacher: TeacherCandidate) -> int:
    """Bytes of a teacher's weights."""
    return sum(path.stat().st_size for path in Path(teacher.model_id).glob("*.safetensors"))


def _own_accuracies(teachers: Iterable[TeacherCandidate], kind: str) -> Iterable[dict[str, object]]:
    for teacher in teachers:
        path = Path(teacher.model_id) / KNOWN
        if path.is_file():  # all but the sentence encoder, which has no classes
            accuracy = json.loads(path.read_text(encoding="utf-8"))["held_out_accuracy"]
            yield {"key": kind, "teacher": teacher.name, "modality": kind, "accuracy": accuracy}


def as_scores(own: Iterable[dict[str, str]], scores: pandas.DataFrame) -> pandas.DataFrame:
    """Accuracies of teachers on their own tasks as one more score, of the cells and seeds that other scores have.

    Args:
        own: the table of `own_accuracies`.
        scores: from `analysis.load_scores`.
    """
    accuracies = pandas.DataFrame(own, columns=list(OWN_COLUMNS))
    accuracies["value"] = accuracies["accuracy"].astype(float)
    one_metric = scores[scores["metric"] == METRICS[0]].drop(columns="value")
    joined = one_metric.merge(accuracies[["teacher", "modality", "value"]], on=["teacher", "modality"])
    return joined.assign(metric=SOURCE_ACCURACY)
