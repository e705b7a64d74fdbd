"""What is measured: target tasks x label budgets x teachers x methods x seeds, and in which order."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from hf_ctkd.costs import EmpiricalCost
from hf_ctkd.demo.tasks import TASKS
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import (
    BSSLoss,
    DistillationLoss,
    InvertedProjectionLoss,
    LabelMapLoss,
    LabelTransportLoss,
    ProbeLoss,
    ProjectionLoss,
    RelationshipMatchingLoss,
    RowTransportLoss,
    SpectralLoss,
)

PLAIN, DEFAULT = "plain", "default"
STEPS = 300
BATCH = {"image": 64, "text": 32}
"""Optimiser steps of every arm but the plain student, whose number is tuned, and rows of each."""
LONGER = 3
"""How many times their steps the main arms take once more."""

METHODS: dict[str, Callable[..., DistillationLoss]] = {
    DEFAULT: RowTransportLoss,
    "default, teacher alone": lambda: RowTransportLoss(input_features=False),
    "probe": ProbeLoss,
    "transport, empirical": lambda: LabelTransportLoss(EmpiricalCost()),
    "transport, literal": lambda: LabelTransportLoss(EmpiricalCost(), gain_exponent=0.0),
    "inverted projection": InvertedProjectionLoss,
    "traditional projection": partial(ProjectionLoss, "traditional"),
    "label map": LabelMapLoss,
    "relationship matching": RelationshipMatchingLoss,
}
"""Losses that learn from a teacher, with the library's defaults in every cell; the weight of some is tuned."""

READS_LOGITS = ("transport, empirical", "transport, literal", "label map")
"""Methods that an encoder without a head cannot teach."""

ALONE: dict[str, Callable[..., DistillationLoss]] = {"spectral": SpectralLoss, "bss": BSSLoss}
"""Teacher-free losses."""

CONTROLS = (
    PLAIN,
    "self-training",
    "self-training, transported",
    "input features, probe",
    "input features, transported",
    *ALONE,
)
"""Arms without a teacher; each has the same rows, labels, student and optimiser steps as the methods."""


@dataclass(frozen=True)
class Cell:
    """A target task with a number of labelled rows."""

    task: str
    labels: int

    @property
    def modality(self) -> str:
        return TASKS[self.task][0] if self.task in TASKS else ""

    def __str__(self) -> str:
        return f"{self.task} @ {self.labels}"


CELLS = (
    Cell("digits", 50),
    Cell("digits", 100),
    Cell("digits", 300),
    Cell("digit-families", 50),
    Cell("digits-imbalanced", 50),
    Cell("greek-letters", 72),
    Cell("scipy-docstrings", 150),
    Cell("sklearn-docstrings", 100),
    Cell("pandas-docstrings", 100),
)
SMALL = tuple(cell for cell in CELLS if cell != Cell("digits", 300))
"""The small label budgets that the goals speak of."""
BALANCED, IMBALANCED = Cell("digits", 50), Cell("digits-imbalanced", 50)
DETAILED = (BALANCED, IMBALANCED, Cell("sklearn-docstrings", 100))
"""Cells on which all methods run and the default has all teachers; elsewhere the default and the controls."""

SAME_TASK = {
    "digits": "handwriting",
    "digits-imbalanced": "handwriting",
    "greek-letters": "greek",
    "scipy-docstrings": "scipy",
    "sklearn-docstrings": "sklearn",
    "pandas-docstrings": "pandas",
}
"""The teacher with the target's own label set on the same kind of rows; every other one is of another task."""

TEACHERS = {
    "image": (
        "handwriting", "handwriting-pairs", "handwriting-5-to-9", "handwriting-0-to-4", "handwriting-parity",
        "font-digits", "font-letters", "greek", "arrows", "photographs", "letters-encoder", "random-weights",
    ),
    "text": (
        "scipy", "sklearn", "torch", "scipy-kinds", "random-weights", "numpy", "pandas", "sympy", "networkx",
        "which-library", "torch-encoder", "random-transformer", "minilm",
    ),
}  # fmt: skip
"""Teachers of the fair subset; `--full` takes the whole zoo."""
FEWER = {
    "image": (
        "handwriting", "handwriting-pairs", "handwriting-5-to-9", "font-letters", "font-digits", "arrows",
        "random-weights",
    ),
    "text": ("sklearn", "torch", "numpy", "which-library", "random-weights", "minilm"),
}  # fmt: skip
"""Teachers of the default on the other cells."""
FEWEST = {
    "image": ("handwriting-pairs", "font-letters", "arrows", "random-weights"),
    "text": ("torch", "which-library", "random-weights", "minilm"),
}
"""Teachers of the methods besides the default, all of another task."""
DETAILED_CONTROLS = ("self-training", *ALONE)
"""Controls on the detailed cells alone: weaker than their transported counterparts, or regularisers."""
HEADLESS = ("letters-encoder", "torch-encoder", "minilm")
RANDOM = ("random-weights", "random-transformer")


@dataclass(frozen=True)
class Run:
    """One student to train, or (method "scores") one ranking of the teachers to make.

    Args:
        cell: target task with its labels.
        method: arm.
        seed: of labels, weights and batches.
        teacher: its name in the zoos; empty for none.
        times: how many times its steps a student takes.
    """

    cell: Cell
    method: str
    seed: int
    teacher: str = ""
    times: int = 1


SCORES = "scores"


@dataclass(frozen=True)
class Extras:
    """What joins from outside, by name."""

    tasks: Sequence[Cell] = ()
    teachers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    losses: Sequence[str] = ()


def is_cross_task(task: str, teacher: str) -> bool:
    """Whether a teacher learned anything but the target's own labels on the same kind of rows."""
    return SAME_TASK.get(task) != teacher


def plan(*, seeds: int, full: bool = False, extras: Extras = Extras(), modality: Callable[[str], str]) -> list[Run]:  # noqa: B008
    """All runs in the order in which they are made.

    The default and the controls of a seed come first, then its other methods, then the main arms at three times their
    steps, then the next seed; within these the order is random, so that whatever the time allows is a fair part.

    Args:
        seeds: how many.
        full: every method on every cell with the whole zoo, in place of the fair subset.
        extras: tasks, teachers and losses from outside.
        modality: of a task, by its name.

    Raises:
        InvalidArgumentError: if `seeds` is below one.
    """
    if seeds < 1:
        raise InvalidArgumentError(f"`seeds` must be at least 1, got {seeds}.")
    generator = np.random.default_rng(0)
    ordered: list[tuple[float, int, float, Run]] = []
    for seed in range(seeds):
        for cell in (*CELLS, *extras.tasks):
            kind = modality(cell.task)
            for run in _main_runs(cell, kind, seed, full, extras):
                ordered.append((seed, run.method != PLAIN, generator.random(), run))
            for run in _other_runs(cell, kind, seed, full, extras):
                ordered.append((seed + 0.5, True, generator.random(), run))
            for run in _longer_runs(cell, kind, seed) if cell in CELLS else ():
                ordered.append((seed + 0.75, run.method != PLAIN, generator.random(), run))
    return [run for *_, run in sorted(ordered, key=lambda entry: entry[:3])]


def runs_of(runs: Sequence[Run], methods: Sequence[str]) -> list[Run]:
    """The runs of some arms; all where none is named.

    Raises:
        InvalidArgumentError: if no run is planned of one of the arms.
    """
    known = sorted({run.method for run in runs})
    for method in methods:
        if method not in known:
            raise InvalidArgumentError(f"`--method` {method!r} is no arm of the plan. Choose from {', '.join(known)}.")
    return [run for run in runs if not methods or run.method in methods]


def teachers_of(kind: str, full: bool, extras: Extras) -> tuple[str, ...]:
    """Names of the teachers of the default method."""
    base = TEACHERS[kind] if not full else tuple(dict.fromkeys((*TEACHERS[kind], *_whole_zoo(kind))))
    return (*base, *extras.teachers.get(kind, ()))


def _whole_zoo(kind: str) -> Iterable[str]:
    from hf_ctkd.demo.zoo import all_specs

    return (spec.name for spec in all_specs("text" if kind == "text" else "image"))


def _main_runs(cell: Cell, kind: str, seed: int, full: bool, extras: Extras) -> Iterable[Run]:
    yield Run(cell, SCORES, seed)
    few = cell in CELLS and cell not in DETAILED and not full
    yield from (Run(cell, control, seed) for control in CONTROLS if not (few and control in DETAILED_CONTROLS))
    teachers = (*FEWER[kind], *extras.teachers.get(kind, ())) if few else teachers_of(kind, full, extras)
    yield from (Run(cell, DEFAULT, seed, teacher) for teacher in teachers)


def _other_runs(cell: Cell, kind: str, seed: int, full: bool, extras: Extras) -> Iterable[Run]:
    detailed = full or cell in DETAILED or cell in extras.tasks
    methods = [name for name in METHODS if name != DEFAULT] if full else [name for name in _SUBSET if detailed]
    for method in (*methods, *(extras.losses if detailed else ())):
        for teacher in teachers_of(kind, full, extras) if full else (*FEWEST[kind], *extras.teachers.get(kind, ())):
            if not (method in READS_LOGITS and teacher in HEADLESS):
                yield Run(cell, method, seed, teacher)


def _longer_runs(cell: Cell, kind: str, seed: int) -> Iterable[Run]:
    """The main arms at three times their steps, so that no table rests on students that are not done."""
    for control in (PLAIN, "input features, transported"):
        yield Run(cell, control, seed, times=LONGER)
    for method in (DEFAULT, "probe") if cell in DETAILED else (DEFAULT,):
        yield from (Run(cell, method, seed, teacher, LONGER) for teacher in FEWEST[kind])


_SUBSET = (
    "default, teacher alone",
    "probe",
    "transport, empirical",
    "transport, literal",
    "inverted projection",
    "traditional projection",
    "label map",
    "relationship matching",
)
