"""A tiny task and tables made by hand, for the tests of the evidence suite."""

import numpy as np
from datasets import ClassLabel, Dataset

from benchmarks.evidence.grid import CONTROLS, DEFAULT, METHODS, PLAIN, TEACHERS, Cell
from benchmarks.evidence.scores import METRICS
from benchmarks.evidence.store import RUNS
from hf_ctkd.demo.images import images_dataset
from hf_ctkd.demo.tasks import TASKS, DemoTask, Pools, assemble_task


def build(*, labels: int, seed: int) -> DemoTask:
    words = ("solve the equation number", "filter the signal number")
    texts = [f"{words[row % 2]} {row}" for row in range(60)]
    rows = Dataset.from_dict({"text": texts}).add_column(
        "label", [row % 2 for row in range(60)], feature=ClassLabel(names=["optimize", "signal"])
    )
    return assemble_task("tiny", "text", _pools(rows), labels=labels, seed=seed)


def build_pictures(*, labels: int, seed: int) -> DemoTask:
    """Dark and bright pictures, no two of them alike."""
    bright = np.arange(60) % 2
    noise = np.random.default_rng(0).integers(0, 100, (60, 8, 8))
    rows = images_dataset(noise + 150 * bright[:, None, None], bright.tolist(), ["dark", "bright"])
    return assemble_task("tiny pictures", "image", _pools(rows), labels=labels, seed=seed)


def _pools(rows: Dataset) -> Pools:
    return Pools(rows.select(range(40)), rows.select(range(40, 50)), rows.select(range(50, 60)))


def row(cell: Cell, method: str, seed: int, accuracy: float, *, teacher: str = "", **changes: object) -> dict[str, str]:
    values = {
        "key": f"{cell} {method} {teacher} {seed}",
        "task": cell.task,
        "labels": cell.labels,
        "modality": TASKS[cell.task][0],
        "teacher": teacher,
        "method": method,
        "seed": seed,
        "times": 1,
        "steps": 300,
        "accuracy": accuracy,
        "macro_f1": accuracy,
        "validation_accuracy": accuracy,
        "seconds": 2.0,
        "error": "",
        **changes,
    }
    return {name: str(values.get(name, "")) for name in RUNS}


def runs_with(cells: tuple[Cell, ...], gain: float, *, control: float = 0.02, seeds: int = 3) -> list[dict[str, str]]:
    """Every method gains `gain` over a plain student of 0.5 with every teacher, every control `control`."""
    found = []
    for cell in cells:
        for seed in range(seeds):
            base = 0.5 + 0.01 * seed
            found += [row(cell, one, seed, base + (0 if one == PLAIN else control)) for one in CONTROLS]
            for method in METHODS:
                for teacher in (
                    TEACHERS[TASKS[cell.task][0]] if method == DEFAULT else TEACHERS[TASKS[cell.task][0]][:3]
                ):
                    found.append(row(cell, method, seed, base + gain, teacher=teacher))
    return found


def scores_with(
    cell: Cell, values: dict[str, float], metric: str = METRICS[0], *, seeds: int = 2
) -> list[dict[str, str]]:
    """What a score says of teachers, the same for every seed."""
    return [
        {
            "key": "k",
            "task": cell.task,
            "labels": str(cell.labels),
            "modality": "image",
            "teacher": teacher,
            "seed": str(seed),
            "metric": metric,
            "value": str(value),
        }
        for seed in range(seeds)
        for teacher, value in values.items()
    ]
