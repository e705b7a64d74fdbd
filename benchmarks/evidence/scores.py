"""What the selector says of every teacher before anything is trained: to be held against the outcomes."""

from pathlib import Path

from benchmarks.evidence.student import Job, candidates, key_of, task_of
from hf_ctkd.selection import TeacherSelector

METRICS = (
    "information_gain",
    "transport_empirical",
    "transport_prototype",
    "leep",
    "nearest_neighbour",
    "logme",
    "hscore",
    "nce",
)
"""Scores of each teacher; the first orders the ranking, as it does by default. The selector adds its controls."""


def rank(job: Job, modality: str, teachers: tuple[str, ...]) -> list[dict[str, object]]:
    """Rows of the table of scores, one a teacher and metric, on the labelled rows of a cell and seed alone."""
    run = job.run
    task = task_of(run.cell.task, run.cell.labels, run.seed)
    by_name = candidates(job.run_settings.zoos[modality])
    selector = TeacherSelector(
        METRICS[0], metrics=METRICS, cache_dir=Path(job.run_settings.work) / "selection", seed=run.seed, progress=False
    )
    ranking = selector.rank([by_name[name] for name in teachers if name in by_name], task.labelled)
    return [
        {
            "key": key_of(job, modality),
            "task": run.cell.task,
            "labels": run.cell.labels,
            "modality": modality,
            "teacher": teacher.candidate.name,
            "seed": run.seed,
            "metric": metric,
            "value": value,
        }
        for teacher in ranking.scored
        for metric, value in teacher.scores.items()
    ]
