# /// script
# requires-python = ">=3.10"
# dependencies = ["hf_ctkd[demo]"]
#
# [tool.uv.sources]
# hf_ctkd = { path = "../..", editable = true }
# ///
"""The grid behind the claims for dense students: distances x directions x teachers, beside plain and spectral students.

Every finished run is one line of the results file, and a second call makes the missing ones. See README.md in this
folder.
"""

import csv
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from statistics import mean, stdev

from datasets import Dataset
from run import Method, classifier, processor, student
from scenes import scenes
from transformers import HfArgumentParser, PrinterCallback

from hf_ctkd.demo.tasks import build_task
from hf_ctkd.hub import folder_teachers, random_like
from hf_ctkd.losses import ProjectionLoss, SpectralLoss
from hf_ctkd.losses.distances import DISTANCES
from hf_ctkd.training import DistillationConfig, DistillationTrainer

LAYERS = [(-2, -1)]
RANK = {"mask": 11, "depth": 8}
"""Directions that the spectral loss leaves free: the classes of a mask, and as many as suit a depth map."""
METRIC = {"mask": "mean_iou", "depth": "abs_rel"}
PLAIN, SPECTRAL, RANDOM = "plain", "spectral", "random"
TUNING_SEED = 1000
"""Of scenes that no grid has, with digits held out for validation in place of test digits."""


@dataclass
class Grid:
    """What is run; `--minutes` ends it before the grid is done, and the next call goes on from there."""

    results: str = field(default="dense.csv", metadata={"help": "File of the results, one line a run."})
    tasks: list[str] = field(default_factory=lambda: ["mask", "depth"], metadata={"help": "Label columns to learn."})
    scenes: list[int] = field(
        default_factory=lambda: [40, 300], metadata={"help": "Numbers of training scenes, all of them labelled."}
    )
    seeds: int = field(default=5, metadata={"help": "Number of seeds; each draws scenes and weights anew."})
    distances: list[str] = field(default_factory=lambda: ["l2", "at", "pkt"], metadata={"help": "Feature distances."})
    teacher: str = field(default="handwriting", metadata={"help": "Built-in classifier to distill from."})
    test_scenes: int = field(default=300, metadata={"help": "Number of test scenes."})
    steps: int = field(default=1000, metadata={"help": "Optimiser steps of each student."})
    learning_rate: float = field(default=5e-3, metadata={"help": "Peak learning rate of each student."})
    batch_size: int = field(default=16, metadata={"help": "Scenes in a batch."})
    weights: list[float] = field(
        default_factory=list,
        metadata={"help": "Compare these weights of each distance on validation scenes, in place of the grid."},
    )
    minutes: float | None = field(default=None, metadata={"help": "Start no run after so many minutes."})


@dataclass(frozen=True)
class Run:
    """One student. A distance and a direction are empty, and there is no weight, for students without a teacher."""

    task: str
    scenes: int
    seed: int
    teacher: str
    distance: str = ""
    direction: str = ""
    weight: float | None = None


def runs(grid: Grid) -> Iterator[Run]:
    """All runs, seed by seed, so that an unfinished grid has whole comparisons; with `--weights` those of `trials`."""
    if grid.weights:
        yield from trials(grid)
        return
    for seed, task, count in product(range(grid.seeds), grid.tasks, grid.scenes):
        yield from (Run(task, count, seed, alone) for alone in (PLAIN, SPECTRAL))
        for distance, direction, teacher in product(
            grid.distances, ("inverted", "traditional"), (grid.teacher, RANDOM)
        ):
            yield Run(task, count, seed, teacher, distance, direction, DISTANCES[distance].usual_weight)


def trials(grid: Grid) -> Iterator[Run]:
    """An inverted projection from the classifier with each weight, and the plain student, on validation scenes."""
    for task, count in product(grid.tasks, grid.scenes):
        yield Run(task, count, TUNING_SEED, PLAIN)
        for distance, weight in product(grid.distances, grid.weights):
            yield Run(task, count, TUNING_SEED, grid.teacher, distance, "inverted", weight)


def method(run: Run, folder: Path) -> Method:
    """The loss and the teacher of a run; those of the grid have the library's default weights."""
    if run.teacher == PLAIN:
        return Method(PLAIN, None)
    if run.teacher == SPECTRAL:
        return Method(SPECTRAL, SpectralLoss(RANK[run.task], layer=-2))
    (teacher,) = folder_teachers(folder)
    loss = ProjectionLoss(run.direction, distance=run.distance, layers=LAYERS, weight=run.weight)
    return Method(run.direction, loss, random_like(folder) if run.teacher == RANDOM else teacher)


@lru_cache(maxsize=4)
def rows(count: int, test_scenes: int, seed: int) -> tuple[Dataset, Dataset]:
    """Training and test scenes of a seed; validation scenes of the seed for tuning."""
    task = build_task("digits", labels=300, seed=seed)
    digits = task.train().filter(lambda label: label >= 0, input_columns="label")
    train = scenes(digits, count, labelled=count, seed=seed)
    held_out = task.validation if seed == TUNING_SEED else task.test
    return train, scenes(held_out, test_scenes, labelled=test_scenes, seed=10_000 + seed)


def measure(run: Run, grid: Grid, folder: Path, work: Path) -> dict[str, float]:
    """Train a student; its metric on the test scenes and the seconds of the processor that it took."""
    chosen, started = method(run, folder), time.process_time()
    train, test = rows(run.scenes, grid.test_scenes, run.seed)
    config = DistillationConfig(
        str(work), max_steps=grid.steps, learning_rate=grid.learning_rate, seed=run.seed, use_cpu=True,
        per_device_train_batch_size=grid.batch_size, save_strategy="no", logging_strategy="no", disable_tqdm=True,
        bootstrap_resamples=0, cache_student_inputs=True, input_column="image", label_column=run.task,
        cache_dir=str(work / "cache"), report_to="none",
    )  # fmt: skip
    trainer = DistillationTrainer(
        model=student(run.task, seed=run.seed),
        args=config,
        teachers=None if chosen.teacher is None else [chosen.teacher],
        loss=chosen.loss,
        train_dataset=train.select_columns(["image", run.task]),
        eval_dataset=test.select_columns(["image", run.task]),
        processing_class=processor(),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    value = trainer.evaluate()[f"eval_{METRIC[run.task]}"]
    return {"value": round(value, 5), "seconds": round(time.process_time() - started, 1)}


def settings_of(grid: Grid) -> dict[str, object]:
    """What else shapes a run: lines of other settings are not counted as done."""
    return {name: vars(grid)[name] for name in ("test_scenes", "steps", "learning_rate", "batch_size")}


def finished(path: Path, grid: Grid) -> dict[Run, float]:
    """Runs in the results file that have the settings of this grid, and their metrics."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if _has_settings(line, grid)]
    return {
        Run(
            line["task"],
            int(line["scenes"]),
            int(line["seed"]),
            line["teacher"],
            line["distance"],
            line["direction"],
            float(line["weight"]) if line["weight"] else None,
        ): float(line["value"])
        for line in lines
    }


def _has_settings(line: dict[str, str], grid: Grid) -> bool:
    return all(float(line[name]) == value for name, value in settings_of(grid).items())


def add(path: Path, run: Run, grid: Grid, outcome: dict[str, float]) -> None:
    """Append a line, after the names of the columns where the file is new."""
    line = {**asdict(run), **settings_of(grid), **outcome}
    new = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, line, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(line)


def table(done: dict[Run, float], grid: Grid) -> str:
    """Mean metric of each kind of student, and its mean difference from plain students of the same seeds, in per cent.

    A difference is positive where the student is better, whatever the direction of the metric.
    """
    lines = ["| task | scenes | teacher | distance | direction | weight | metric | better than plain, % | runs |"]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    wanted = list(runs(grid))
    for kind in dict.fromkeys(replace(run, seed=0) for run in wanted):
        of_kind = [run for run in wanted if replace(run, seed=0) == kind and run in done]
        pairs = [(done[run], done.get(Run(run.task, run.scenes, run.seed, PLAIN))) for run in of_kind]
        gains = [_better(kind.task, value, plain) for value, plain in pairs if plain is not None]
        if pairs:
            names = (kind.task, kind.scenes, kind.teacher, kind.distance, kind.direction, kind.weight or "")
            cells = (*names, f"{mean(value for value, _ in pairs):.4f}", _interval(gains), len(pairs))
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def _better(task: str, value: float, plain: float) -> float:
    gain = 100 * (value - plain) / plain
    return gain if task == "mask" else -gain


def _interval(gains: list[float]) -> str:
    """Mean and standard error."""
    if len(gains) < 2:
        return "" if not gains else f"{gains[0]:+.1f}"
    return f"{mean(gains):+.1f} +- {stdev(gains) / len(gains) ** 0.5:.1f}"


def main():
    (grid,) = HfArgumentParser(Grid).parse_args_into_dataclasses()
    path, started = Path(grid.results), time.monotonic()
    done = finished(path, grid)
    missing = [run for run in runs(grid) if run not in done]
    print(f"{len(missing)} of {len(list(runs(grid)))} runs are missing")
    with tempfile.TemporaryDirectory() as temporary:
        folder = classifier(grid.teacher, Path(temporary) / grid.teacher)
        for run in missing:
            if grid.minutes is not None and time.monotonic() - started > 60 * grid.minutes:
                print("out of time: run the same command again for the rest")
                break
            outcome = measure(run, grid, folder, Path(temporary) / "work")
            add(path, run, grid, outcome)
            values = [vars(run)[column.name] for column in fields(run)]
            print(*(value for value in values if value not in ("", None)), outcome["value"], flush=True)
    print(table(finished(path, grid), grid))


if __name__ == "__main__":
    main()
