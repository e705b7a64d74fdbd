"""Pretrained students: what a teacher adds where a pretrained encoder and a few labels do most of the work.

Every cell has a task, a student and a teacher; every arm trains the same student on the same rows.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from sklearn.linear_model import LogisticRegression
from transformers import PreTrainedModel, PrinterCallback

from benchmarks.evidence.controls import SelfTrainingLoss
from benchmarks.evidence.grid import DEFAULT, PLAIN, STEPS
from benchmarks.evidence.packages import debian, e5, efficientnet, emoji, mobilenet, setfit
from benchmarks.evidence.pretrained import NAME, ONE_LAYER
from benchmarks.evidence.run import in_processes, reason_of
from benchmarks.evidence.settings import Settings
from benchmarks.evidence.store import Store
from benchmarks.evidence.student import candidates, config_of, keep_student, measured
from hf_ctkd.data import ProcessingClass, TargetRows
from hf_ctkd.data.preprocessing import Preprocessor
from hf_ctkd.demo.pretrained import STUDENT, pretrained_student
from hf_ctkd.demo.tasks import DemoTask, build_task
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.hub import random_like
from hf_ctkd.losses import AFTLoss, BTuningLoss, DistillationLoss, ProbeLoss, RowTransportLoss
from hf_ctkd.probes import LinearProbe
from hf_ctkd.probes.ensemble import ProbeEnsemble
from hf_ctkd.records import TeacherCandidate, read_json, write_json
from hf_ctkd.teachers import Teacher, compute_outputs
from hf_ctkd.teachers.features import FeatureReader
from hf_ctkd.training import DistillationTrainer
from hf_ctkd.training.teacher_runner import TeacherLike
from hf_ctkd.types import LossContext, ModelOutputs, Needs

FORMAT = 1
"""Raise it when the library changes so that earlier runs no longer count."""
COLUMNS = (
    "key", "cell", "arm", "labels", "seed", "accuracy", "validation_accuracy", "test_rows", "correct", "steps",
    "learning_rate", "weight", "processor_seconds", "error",
)  # fmt: skip
ALL = "all"
"""Every training row but one, as a task needs one without a label."""
SEEDS = (0, 1, 2)
RATES = (3e-4,)
"""The same for every arm, taken from measurements before this suite; with several, each arm is tuned."""
CHECKED_RATES = (1e-4, 1e-3)
"""Tried for the plain student and the default too, to see whether the common rate favours one of them."""
LONGER = 3
"""Every arm may also train for three times the steps, if validation rows say so."""
TUNING_SEED = 1000
FURTHER_TUNING_SEEDS = (1001, 1002, 1003, 1004)
"""Further draws of the labelled rows, to compare arms on validation rows alone."""
ALL_LABELS_SEEDS = (TUNING_SEED, 1001)
"""The same where all rows have a label, so that another seed changes weights and batches alone."""
TUNING, KIND = "pretrained_tuning.json", "evidence-pretrained-tuning"
LINEAR_PROBE, SELF_TRAINING, CONTROL, RANDOM = "LP-FT", "self-training", "own features", "random weights"
FORMER = "default, features alone"
"""What the default was: its student's member read what the head reads, and without a better teacher it taught nothing.
It is run no more; its trials are among those that chose the present one."""
WORDS, RANDOM_WORDS = "words beside", "random weights, words beside"
PROBE, B_TUNING, AFT = "probe", "B-Tuning", "AFT"
DRAWN = (CONTROL, RANDOM, DEFAULT)
"""Compared with the plain student on further draws of the labels."""
GUESS = 120.0
"""Seconds that the first run may take."""


@dataclass(frozen=True)
class Cell:
    """One question: a task, a student and a teacher.

    Args:
        name: in tables.
        task: for `build_task`.
        teacher: its short name.
        labels: numbers of labelled rows, as text, or "all"; every arm is tuned at the first.
        rows: of a step.
        student: its short name.
        arms: that it compares; None for all.
        length: tokens a text, of which nine of ten have no more; None for pictures, whose size is in the student's
            image processor.
        weights: of losses, by arm, out of which tuning chooses in place of the arm's own.
    """

    name: str
    task: str
    teacher: str
    labels: tuple[str, ...]
    rows: int
    student: str = STUDENT
    arms: tuple[str, ...] | None = None
    length: int | None = 32
    weights: tuple[tuple[str, tuple[float, ...]], ...] = ()


GAP = Cell("Debian sections", debian.TASK, e5.NAME, ("200", ALL), 32)
"""Where distillation should help most: a better encoder as teacher, and ten times as many rows as labels."""
SAME_FAMILY = Cell(
    "SciPy docstrings",
    "scipy-docstrings",
    NAME,
    ("100", "300", ALL),
    16,
    arms=(PLAIN, LINEAR_PROBE, CONTROL, PROBE, DEFAULT, RANDOM, SELF_TRAINING, setfit.NAME, B_TUNING, AFT),
)
"""A teacher of six layers whose first two are the student."""
PICTURES = Cell(
    "Emoji groups",
    emoji.TASK,
    efficientnet.NAME,
    ("80", ALL),
    16,
    mobilenet.NAME,
    arms=(PLAIN, LINEAR_PROBE, CONTROL, PROBE, DEFAULT, RANDOM, SELF_TRAINING, B_TUNING, AFT),
    length=None,
    weights=((B_TUNING, (1.0, 10.0, 100.0)),),  # its pooled features differ from row to row, unlike those of MiniLM
)
"""A student of small pictures, and a teacher that sees them at its own size."""
WIDE_GAP = Cell(
    "Debian sections, one layer",
    debian.TASK,
    e5.NAME,
    ("200",),
    32,
    student=ONE_LAYER,
    arms=(PLAIN, LINEAR_PROBE, CONTROL, SELF_TRAINING, DEFAULT, RANDOM, setfit.NAME),
)
"""A smaller student of the same rows and teacher, which knows less."""
NO_GAP = Cell(
    "SciPy docstrings, six layers",
    "scipy-docstrings",
    e5.NAME,
    ("100",),
    16,
    student=NAME,
    arms=(PLAIN, CONTROL, DEFAULT, RANDOM),
)
"""A student that should know as much as its teacher: nothing to be gained, and nothing to be lost."""
CELLS = (GAP, SAME_FAMILY, PICTURES, WIDE_GAP, NO_GAP)


@dataclass(frozen=True)
class Arm:
    """One way to train the student.

    Args:
        loss: None for labels alone.
        teacher: whether the cell's teacher teaches; otherwise the loss reads the student itself, or nothing.
        weights: of the loss, out of which tuning chooses; empty where it keeps its default.
        labelled: whether it reads the labelled rows alone, as the papers of some losses do.
    """

    loss: Callable[..., DistillationLoss] | None = None
    teacher: bool = True
    weights: tuple[float, ...] = ()
    labelled: bool = False

    def make_loss(self, weight: float | None) -> DistillationLoss | None:
        """The loss with the weight that tuning chose; None for labels alone."""
        if self.loss is None:
            return None
        return self.loss() if weight is None else self.loss(weight=weight)


ARMS = {
    PLAIN: Arm(),
    DEFAULT: Arm(partial(RowTransportLoss, input_features="student")),
    WORDS: Arm(RowTransportLoss),
    RANDOM: Arm(partial(RowTransportLoss, input_features="student")),
    RANDOM_WORDS: Arm(RowTransportLoss),
    LINEAR_PROBE: Arm(),
    CONTROL: Arm(lambda: RowTransportLoss(input_features=False), teacher=False),
    PROBE: Arm(ProbeLoss),
    SELF_TRAINING: Arm(lambda: SelfTrainingLoss(transported=True), teacher=False),
    setfit.NAME: Arm(),
    B_TUNING: Arm(BTuningLoss, weights=(1e-4, 1e-3, 1e-2), labelled=True),
    AFT: Arm(AFTLoss, weights=(1.0, 3.0, 10.0), labelled=True),
}
"""`LP-FT` starts from a head that was fitted to frozen features; `own features` learns from its own frozen layers."""
TEACHER, OWN = "teacher", "own"
PROBES = {"probe of the teacher": (TEACHER,), "probe of own features": (OWN,), "probe of both": (TEACHER, OWN)}
"""No students, but the default's probes, fitted to the labelled rows: what is there to be learnt from whom."""
TEACHER_FREE = (LINEAR_PROBE, SELF_TRAINING, CONTROL)
WITH_ALL_LABELS = (PLAIN, DEFAULT, RANDOM)
"""Arms that also run with all labels, where there is nothing for soft labels to add."""


@dataclass(frozen=True)
class Workplace:
    """Where the runs find their models and leave results.

    Args:
        folder: of the results.
        models: folder that holds the models under their short names.
        work: cached teacher outputs and students for self-training.
        missing: tasks, models and arms that this machine lacks.
        processes: how many runs at once, each on one thread.
        say: takes each line for the user.
    """

    folder: Path
    models: str
    work: str
    missing: Mapping[str, str] = field(default_factory=dict)
    processes: int = 2
    say: Callable[[str], None] = print

    @property
    def runs(self) -> Store:
        return Store(self.folder, "pretrained", COLUMNS)

    @property
    def trials(self) -> Store:
        return Store(self.folder, "pretrained_trials", COLUMNS)

    @property
    def cells(self) -> list[Cell]:
        """The cells whose task and models are at hand."""
        return [cell for cell in CELLS if not {cell.teacher, cell.student, cell.task} & set(self.missing)]

    @property
    def arms(self) -> list[str]:
        """The arms whose packages are installed."""
        return [arm for arm in ARMS if arm not in self.missing]

    def model(self, name: str) -> TeacherCandidate:
        return candidates((self.models,))[name]


@dataclass(frozen=True)
class Recipe:
    """What tuning chooses for an arm of a cell.

    Args:
        learning_rate: peak of the linear schedule.
        times: the multiple of the usual steps.
        weight: of the loss; None for its default.
    """

    learning_rate: float
    times: int = 1
    weight: float | None = None

    def recorded(self) -> dict[str, float]:
        """What is written down: only what was chosen."""
        return {name: value for name, value in asdict(self).items() if value is not None}


_NOTHING = Recipe(0.0, 0)
"""Of a probe, which takes no steps."""


@dataclass(frozen=True)
class Job:
    """One student to train; `plain` is the recipe of the student whose predictions self-training learns."""

    cell: Cell
    arm: str
    labels: str
    seed: int
    recipe: Recipe
    plain: Recipe | None = None


Chosen = Mapping[str, Mapping[str, Recipe]]
"""Cell -> arm -> what tuning chose."""


def trials(cell: Cell, chosen: Mapping[str, Recipe], arms: Iterable[str] = ARMS) -> list[Job]:
    """Every recipe of every arm that has a choice, at the fewest labels, on a seed that no measured run has.

    Args:
        cell: the cell.
        chosen: what is tuned already; self-training waits for the plain student.
        arms: to tune.
    """
    recipes = {arm: recipes_of(cell, arm) for arm in arms_of(cell, arms) if arm != SELF_TRAINING or PLAIN in chosen}
    jobs = [
        Job(cell, arm, cell.labels[0], TUNING_SEED, recipe)
        for arm in recipes
        for recipe in recipes[arm]
        if len(recipes[arm]) > 1
    ]
    return [_with_plain(job, chosen) for job in jobs]


def rate_trials(cell: Cell) -> list[Job]:
    """The plain student and the default at lower and higher learning rates, at the fewest labels, on the tuning seed.

    Args:
        cell: the cell.
    """
    return [
        Job(cell, arm, cell.labels[0], TUNING_SEED, Recipe(rate, LONGER))
        for arm in (PLAIN, DEFAULT)
        for rate in CHECKED_RATES
    ]


def draw_trials(cell: Cell, chosen: Mapping[str, Recipe]) -> list[Job]:
    """The arms that a student without a good teacher has, as they were tuned, on further draws of the labels.

    With all labels, the plain student and the one taught by its own features, both at three times the steps.

    Args:
        cell: the cell.
        chosen: what tuning chose; nothing is tried for a cell that is not tuned.
    """
    arms = [arm for arm in (PLAIN, *DRAWN) if arm in chosen and arm in arms_of(cell)]
    few = [Job(cell, arm, cell.labels[0], seed, chosen[arm]) for seed in FURTHER_TUNING_SEEDS for arm in arms]
    if not few or ALL not in cell.labels:
        return few
    longer = Recipe(RATES[0], LONGER)
    both = [arm for arm in arms if arm in (PLAIN, CONTROL)]
    return [*few, *(Job(cell, arm, ALL, seed, longer) for seed in ALL_LABELS_SEEDS for arm in both)]


def arms_of(cell: Cell, arms: Iterable[str] = ARMS) -> list[str]:
    """Those of some arms that a cell compares."""
    return [arm for arm in arms if cell.arms is None or arm in cell.arms]


def recipes_of(cell: Cell, arm: str) -> list[Recipe]:
    """What is tried for an arm: alike for all but the former default, which only shows what was wrong with it."""
    times = (1,) if arm in (WORDS, RANDOM_WORDS) else (1, LONGER)
    weights = dict(cell.weights).get(arm, ARMS[arm].weights) or (None,)
    return [Recipe(rate, multiple, weight) for multiple in times for rate in RATES for weight in weights]


def _with_plain(job: Job, chosen: Mapping[str, Recipe]) -> Job:
    return replace(job, plain=chosen[PLAIN]) if job.arm == SELF_TRAINING else job


def plan(cells: Sequence[Cell], chosen: Chosen) -> list[Job]:
    """All runs: what the goals speak of first.

    Args:
        cells: in order of worth.
        chosen: what tuning chose for each cell; others are left out.
    """
    fewest = [(cell, cell.labels[0], seed, ARMS) for cell in cells for seed in SEEDS]
    others = [
        (cell, labels, seed, WITH_ALL_LABELS if labels == ALL else ARMS)
        for cell in cells
        for labels in reversed(cell.labels[1:])
        for seed in SEEDS
    ]
    students = [
        _with_plain(Job(cell, arm, labels, seed, chosen[cell.name][arm]), chosen[cell.name])
        for cell, labels, seed, arms in (*fewest, *others)
        for arm in arms_of(cell, arms)
        if arm in ARMS and arm in chosen.get(cell.name, {})
    ]
    probes = [Job(cell, arm, cell.labels[0], seed, _NOTHING) for cell in cells for seed in SEEDS for arm in PROBES]
    return [*probes, *students]


def cells_named(names: Sequence[str]) -> list[Cell]:
    """The cells of some names; all if there are no names.

    Args:
        names: of the flag `--cell`.

    Raises:
        InvalidArgumentError: if there is no such cell.
    """
    by_name = {cell.name: cell for cell in CELLS}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise InvalidArgumentError(
            f"`--cell` must be one of {', '.join(by_name)}, got {unknown[0]!r}. Name one of these."
        )
    return [cell for cell in CELLS if not names or cell.name in names]


def measure(workplace: Workplace, *, cells: Sequence[Cell] = CELLS, seconds: float | None) -> None:
    """Tune what is not tuned and make the missing runs, until the time is up.

    Args:
        workplace: models and results.
        cells: to measure.
        seconds: stop in time for no run to end later than this; None for all.
    """
    until = None if seconds is None else time.monotonic() + seconds
    for name, install in workplace.missing.items():
        workplace.say(f"left out: all with {name}, which is not installed ({install})")
    for cell in (cell for cell in workplace.cells if cell in cells):
        tune(workplace, cell, until)
        jobs = [job for job in plan([cell], chosen_by(workplace)) if job.arm not in workplace.missing]
        _make(workplace, workplace.runs, jobs, until)
        further = draw_trials(cell, chosen_by(workplace).get(cell.name, {}))
        _make(workplace, workplace.trials, [*rate_trials(cell), *further], until)
        workplace.trials.merge()
    workplace.say(f"{len(workplace.runs.merge())} runs of pretrained students in {workplace.folder}")


def chosen_by(workplace: Workplace) -> dict[str, dict[str, Recipe]]:
    """What tuning chose for the cells that are tuned; nothing of another format or of other rates."""
    path = workplace.folder / TUNING
    if not path.is_file():
        return {}
    recorded = read_json(path, KIND)
    if {name: recorded[name] for name in _tuned_for()} != _tuned_for():
        return {}
    cells = recorded["chosen"]
    return {cell: {arm: Recipe(**recipe) for arm, recipe in arms.items()} for cell, arms in cells.items()}


def rows_of(workplace: Workplace) -> list[dict[str, str]]:
    """The finished runs of the plan; none of an older format, tuning or loss."""
    planned = {key_of(workplace, job) for job in plan(workplace.cells, chosen_by(workplace))}
    return [row for row in workplace.runs.rows() if row["key"] in planned]


def rows_as_tuned(folder: Path) -> list[dict[str, str]]:
    """The finished runs of students that were trained by the recipe tuning chose, on any machine.

    Args:
        folder: of the results; models need not be at hand.
    """
    workplace = Workplace(folder, models="", work="")
    recipes = chosen_by(workplace)

    def as_tuned(row: Mapping[str, str]) -> bool:
        recipe = recipes.get(row["cell"], {}).get(row["arm"])
        if recipe is None or row["error"]:
            return False
        weight = float(row["weight"]) if row["weight"] else None
        return int(row["steps"]) == STEPS * recipe.times and weight == recipe.weight

    return [row for row in workplace.runs.rows() if as_tuned(row)]


def tune(workplace: Workplace, cell: Cell, until: float | None) -> None:
    """Choose the recipe of every arm of a cell by validation accuracy; a second round for what needs the first.

    An arm that was tuned keeps its recipe: raise `FORMAT`, change `RATES` or delete its entry to tune it again.

    Args:
        workplace: models and results.
        cell: to tune.
        until: time of the monotonic clock at which to stop; None for none.
    """
    chosen = dict(chosen_by(workplace).get(cell.name, {}))
    for _ in range(2):
        arms = [arm for arm in arms_of(cell, workplace.arms) if arm not in chosen]
        jobs = trials(cell, chosen, arms)
        _make(workplace, workplace.trials, jobs, until)
        outcomes = {row["key"]: row for row in workplace.trials.merge() if not row["error"]}
        by_job = {job: outcomes.get(key_of(workplace, job)) for job in jobs}
        if None in by_job.values():
            workplace.say(f"{cell.name} is not tuned yet: give it more time")
            return
        accuracies = {job: float(row["validation_accuracy"]) for job, row in by_job.items() if row is not None}
        tried = {job.arm for job in jobs}
        chosen |= {arm: _best(cell, arm, accuracies) for arm in arms if arm in tried or len(recipes_of(cell, arm)) == 1}
    cells = {**chosen_by(workplace), cell.name: chosen}  # read again: another process may have tuned another cell
    recorded = {name: {arm: recipe.recorded() for arm, recipe in arms.items()} for name, arms in cells.items()}
    write_json(workplace.folder / TUNING, {"kind": KIND, **_tuned_for(), "chosen": recorded})


def _tuned_for() -> dict[str, object]:
    return {"format": FORMAT, "rates": list(RATES)}


def _best(cell: Cell, arm: str, accuracies: Mapping[Job, float]) -> Recipe:
    by_recipe = {job.recipe: accuracy for job, accuracy in accuracies.items() if job.arm == arm}
    return max(by_recipe or recipes_of(cell, arm), key=lambda recipe: by_recipe.get(recipe, 0.0))


def _make(workplace: Workplace, store: Store, jobs: Sequence[Job], until: float | None) -> None:
    done = store.done()
    missing = [job for job in jobs if key_of(workplace, job) not in done]
    workplace.say(f"pretrained students: {len(jobs)} runs, {len(missing)} missing")
    in_processes(
        missing,
        partial(work, workplace, store),
        partial(_note_failure, workplace, store),
        processes=workplace.processes,
        until=until,
        weight=lambda job: job.recipe.times or 0.5,
        say=workplace.say,
        guess=GUESS,
    )


def key_of(workplace: Workplace, job: Job) -> str:
    """Identifies a run by all that shapes it."""
    arm = ARMS.get(job.arm, Arm())
    loss = arm.make_loss(job.recipe.weight)
    described = {} if loss is None else {"name": loss.name, **loss.settings()}
    needs = Needs.NOTHING if loss is None else loss.needs
    taught = (arm.loss and arm.teacher) or job.arm in PROBES
    names = (job.cell.student, job.cell.teacher) if taught else (job.cell.student,)
    models = [workplace.model(name).revision for name in names]
    cell = [job.cell.task, job.cell.rows]
    plain = None if job.plain is None else job.plain.recorded()
    shaped = asdict(job) | {"cell": cell, "recipe": job.recipe.recorded(), "plain": plain}
    content = [
        FORMAT,
        cell,
        STEPS,
        job.cell.length,
        shaped,
        described,
        models,
        *(["labelled rows alone"] if arm.labelled else []),
        *(["layers of the student"] if Needs.STUDENT | Needs.LAYERS in needs else []),
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def work(workplace: Workplace, store: Store, job: Job) -> None:
    """One run, in a process of its own; writes its row."""
    store.add(key_of(workplace, job), [train(workplace, job)])


def _blank(workplace: Workplace, job: Job) -> dict[str, object]:
    return {
        **dict.fromkeys(COLUMNS, ""),
        "key": key_of(workplace, job),
        "cell": job.cell.name,
        "arm": job.arm,
        "labels": job.labels,
        "seed": job.seed,
        "steps": STEPS * job.recipe.times,
        "learning_rate": job.recipe.learning_rate,
        "weight": "" if job.recipe.weight is None else job.recipe.weight,
    }


def _note_failure(workplace: Workplace, store: Store, job: Job, error: BaseException) -> None:
    reason = reason_of(error)
    workplace.say(f"{job.cell.name}, {job.arm}, {job.labels} labels, seed {job.seed} failed: {reason}")
    store.add(key_of(workplace, job), [{**_blank(workplace, job), "error": reason}])


@lru_cache(maxsize=4)
def task_with(name: str, labels: str, seed: int) -> DemoTask:
    """The task with a number of labels, or with all that it can have."""
    if labels != ALL:
        return build_task(name, labels=int(labels), seed=seed)
    count = len(build_task(name, labels=100, seed=seed).train()) - 1
    return build_task(name, labels=count, seed=seed)


def train(workplace: Workplace, job: Job) -> dict[str, object]:
    """Train and measure one student, or a probe; what comes back is a row of the table."""
    started = time.process_time()
    task = task_with(job.cell.task, job.labels, job.seed)
    if job.arm in PROBES:
        correct = _probe_is_right(workplace, job, task)
        return {**_blank(workplace, job), **_outcome(correct), "processor_seconds": _seconds_since(started)}
    if job.arm == setfit.NAME:
        return {**_blank(workplace, job), **_setfit_outcome(workplace, job, task, started)}
    trainer = _trained(workplace, job, task)
    processor_seconds = _seconds_since(started)
    if job.arm == PLAIN:
        keep_student(trainer, _plain_folder(workplace, job))
    output = trainer.predict(task.test)
    correct = np.asarray(output.predictions).argmax(axis=1) == np.asarray(output.label_ids)
    return {
        **_blank(workplace, job),
        **_outcome(correct),
        "validation_accuracy": measured(trainer, task.validation)[0],
        "processor_seconds": processor_seconds,
    }


def _setfit_outcome(workplace: Workplace, job: Job, task: DemoTask, started: float) -> dict[str, object]:
    predicted = setfit.predictions(
        Path(workplace.models) / job.cell.student,
        task,
        steps=STEPS * job.recipe.times,
        texts=job.cell.rows,
        length=job.cell.length,
        seed=job.seed,
    )
    validation, test = (
        classes == TargetRows.of(rows).labels.numpy()
        for classes, rows in zip(predicted, (task.validation, task.test), strict=True)
    )
    return {
        **_outcome(test),
        "validation_accuracy": float(validation.mean()),
        "learning_rate": setfit.LEARNING_RATE,
        "processor_seconds": _seconds_since(started),
    }


def unlabelled_rows(cell: Cell) -> int:
    """How many training rows have no label at the fewest labels."""
    return len(task_with(cell.task, cell.labels[0], SEEDS[0]).unlabelled)


def _outcome(correct: np.ndarray) -> dict[str, object]:
    return {"accuracy": float(correct.mean()), "test_rows": len(correct), "correct": packed(correct)}


def _seconds_since(started: float) -> float:
    return round(time.process_time() - started, 1)


def _probe_is_right(workplace: Workplace, job: Job, task: DemoTask) -> np.ndarray:
    """Which test rows the probes of some models get right, fitted to the labelled rows as the default fits them."""
    names = [job.cell.teacher if member == TEACHER else job.cell.student for member in PROBES[job.arm]]
    teachers = [Teacher.load(workplace.model(name), task.modality) for name in names]

    def context(dataset: Dataset) -> LossContext:
        rows = TargetRows.of(dataset)
        outputs = tuple(compute_outputs(teacher, rows, layers=True, progress=False) for teacher in teachers)
        return LossContext(rows.labels, task.label_space, ModelOutputs(torch.zeros(1, 1)), outputs)

    probes = ProbeEnsemble(LinearProbe())
    probes.fit(context(task.labelled))
    test = context(task.test)
    return (probes.log_posteriors(test).argmax(dim=1) == test.labels).numpy()


def _trained(workplace: Workplace, job: Job, task: DemoTask) -> DistillationTrainer:
    arm = ARMS[job.arm]
    student, processing_class = pretrained_student(task, Path(workplace.models) / job.cell.student, seed=job.seed)
    if job.arm == LINEAR_PROBE:
        start_from_linear_probe(student, processing_class, task)
    settings = Settings(job.recipe.learning_rate, steps=STEPS * job.recipe.times)
    config = config_of(settings, task.modality, seed=job.seed, work=workplace.work)
    config.per_device_train_batch_size, config.max_length = job.cell.rows, job.cell.length
    trainer = DistillationTrainer(
        student,
        config,
        teachers=None if arm.loss is None else [_teacher(workplace, job, task)],
        loss=arm.make_loss(job.recipe.weight),
        train_dataset=task.labelled if arm.labelled else task.train(),
        processing_class=processing_class,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return trainer


def _teacher(workplace: Workplace, job: Job, task: DemoTask) -> TeacherLike:
    if job.arm in (RANDOM, RANDOM_WORDS):
        return random_like(Path(workplace.models) / job.cell.teacher)
    if ARMS[job.arm].teacher:
        return workplace.model(job.cell.teacher)
    return str(_plain_student(workplace, job, task)) if job.arm == SELF_TRAINING else workplace.model(job.cell.student)


def _plain_student(workplace: Workplace, job: Job, task: DemoTask) -> Path:
    """The folder of the plain student of the same cell and seed, trained now if it was not before."""
    assert job.plain is not None
    plain = replace(job, arm=PLAIN, recipe=job.plain, plain=None)
    folder = _plain_folder(workplace, plain)
    if not folder.is_dir():
        keep_student(_trained(workplace, plain, task), folder)
    return folder


def _plain_folder(workplace: Workplace, job: Job) -> Path:
    return Path(workplace.work) / "pretrained-students" / key_of(workplace, job)


def start_from_linear_probe(model: PreTrainedModel, processing_class: ProcessingClass, task: DemoTask) -> None:
    """Let the head begin as the logistic regression on the frozen features that it reads, of the labelled rows.

    Args:
        model: the student, with a linear `classifier`.
        processing_class: tokenizer or image processor of the student.
        task: gives labelled rows.

    Reference:
        Kumar et al., "Fine-tuning can distort pretrained features and underperform out-of-distribution", ICLR 2022.
    """
    rows = TargetRows.of(task.labelled)
    view = Preprocessor.of(processing_class, task.modality, model.config)
    features = torch.cat(list(_features(model, view, rows)))
    mean, scale = features.mean(dim=0), features.std(dim=0).clamp_min(1e-12)  # a pooler may hardly vary from row to row
    probe = LogisticRegression(max_iter=2000).fit(((features - mean) / scale).numpy(), rows.labels.numpy())
    weight = torch.from_numpy(probe.coef_) / scale
    bias = torch.from_numpy(probe.intercept_) - weight @ mean.to(weight.dtype)
    if len(weight) == 1:  # of two classes the one is the other's opposite
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    head = model.get_submodule("classifier")
    head.load_state_dict({"weight": weight, "bias": bias})


@torch.no_grad()
def _features(model: PreTrainedModel, view: Preprocessor, rows: TargetRows) -> Iterable[torch.Tensor]:
    reader = FeatureReader(model.eval())
    for start in range(0, len(rows), 64):
        yield reader.read(view(rows.inputs(range(start, min(start + 64, len(rows)))))).features.float()


def packed(correct: np.ndarray) -> str:
    """Which rows are right, eight to a byte, as text."""
    return np.packbits(correct).tobytes().hex()


def unpacked(text: str, rows: int) -> np.ndarray:
    """What `packed` made of `rows` rows."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), dtype=np.uint8), count=rows).astype(bool)
