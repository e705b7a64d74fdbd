"""Several teachers at once: committees against a single teacher and other ways of joining teachers, and ablations."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel, PrinterCallback

from benchmarks.evidence.grid import BATCH, DEFAULT, HEADLESS, PLAIN, SAME_TASK, STEPS, TEACHERS, Cell
from benchmarks.evidence.interactive import InteractiveCommittee
from benchmarks.evidence.pretrained import NAME
from benchmarks.evidence.run import Suite
from benchmarks.evidence.settings import RATES, TUNED_ON, Settings, Tuned, best
from benchmarks.evidence.settings import SEEDS as TUNING_SEEDS
from benchmarks.evidence.store import Store
from benchmarks.evidence.student import candidates, config_of, measured, task_of
from hf_ctkd.data import ProcessingClass, TargetRows
from hf_ctkd.demo.students import build_student
from hf_ctkd.demo.tasks import DemoTask
from hf_ctkd.losses import (
    CommitteeLoss,
    DistillationLoss,
    InvertedProjectionLoss,
    LabelMapLoss,
    ProbeLoss,
    RowTransportLoss,
)
from hf_ctkd.records import TeacherCandidate
from hf_ctkd.selection import TeacherSelector
from hf_ctkd.teachers import Teacher, compute_outputs
from hf_ctkd.training import DistillationTrainer
from hf_ctkd.types import ModelOutputs

FORMAT = 4
"""Raise it when the library changes so that earlier runs no longer count."""
COLUMNS = (
    "key", "task", "labels", "modality", "method", "teachers", "seed", "accuracy", "macro_f1", "validation_accuracy",
    "skipped", "steps", "learning_rate", "seconds", "error",
)  # fmt: skip
CELLS = (
    Cell("digits", 50),
    Cell("greek-letters", 72),
    Cell("scipy-docstrings", 150),
    Cell("sklearn-docstrings", 100),
    Cell("pandas-docstrings", 100),
)
SEEDS = (0, 1, 2)
MEMBERS = 3
POOR = {"image": ("photographs", "random-weights"), "text": ("random-weights",)}
"""Teachers that a committee is better off without: of two photographs cut to pieces, and of nothing at all."""
PRETRAINED = (NAME,)
"""The foundation-model teacher: somebody else's, of much more data than any toy of the zoo."""
REFERENCE = "same-task teacher"
"""The teacher of the target's own labels, as it is: what the gap is measured to. No arm learns from it."""


StudentBuilder = Callable[..., tuple[PreTrainedModel, ProcessingClass]]
"""From a task and `seed=` to a fresh student and how it reads a row."""


@dataclass(frozen=True)
class Arm:
    """One way to learn from several teachers.

    Args:
        loss: how.
        who: "members", "first" of them, "random" one of them, "members and poor", or the members that would be chosen
            out of the "classifiers" of the pool, or "without pretrained" ones.
        kin: the tuned arm whose optimiser settings it takes.
        interactive: whether teachers read the student's question themselves; texts only.
    """

    loss: Callable[..., DistillationLoss]
    who: str = "members"
    kin: str = DEFAULT
    interactive: bool = False

    def make_loss(self, weight: float | None) -> DistillationLoss:
        """The loss with the weight that was tuned for its kin; its default's where None."""
        return self.loss() if weight is None else self.loss(weight=weight)


class Part(CommitteeLoss):
    """Some terms of the committee's loss without the others.

    Args:
        kept: names of the terms.
    """

    def __init__(self, *kept: str) -> None:
        super().__init__()
        self.kept = kept

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        terms = super().forward(student, teachers, labels)
        return {name: terms[name] for name in self.kept}


COMMITTEE = "committee"
TUNING = "committee_tuning.json"
UNTRAINED = "committee, no foundation-model teacher"
LOG_MEAN = "log-mean, transported"
SINGLE = "best single teacher, transported"


def _teachers_alone() -> RowTransportLoss:
    """The default loss without input features, which no committee reads: the comparison is of ways to join teachers."""
    return RowTransportLoss(input_features=False)


ARMS: dict[str, Arm] = {
    COMMITTEE: Arm(CommitteeLoss, kin=COMMITTEE),
    UNTRAINED: Arm(CommitteeLoss, "without pretrained", COMMITTEE),
    LOG_MEAN: Arm(_teachers_alone),
    "log-mean": Arm(ProbeLoss),
    SINGLE: Arm(_teachers_alone, "first"),
    "default loss, all three": Arm(RowTransportLoss),
    "default loss, best single teacher": Arm(RowTransportLoss, "first"),
    "best single teacher, committee loss": Arm(CommitteeLoss, "first", COMMITTEE),
    "random member, transported": Arm(_teachers_alone, "random"),
    "mean of label maps": Arm(LabelMapLoss, "classifiers"),
    "mean of projections": Arm(InvertedProjectionLoss, kin="inverted projection"),
    "committee, its answers alone": Arm(lambda: Part("committee", "committee_task"), kin=COMMITTEE),
    "committee, its probes alone": Arm(lambda: Part("committee_probe"), kin=COMMITTEE),
    "committee, no input features": Arm(lambda: CommitteeLoss(input_features=False), kin=COMMITTEE),
    "committee, uniform weights": Arm(lambda: CommitteeLoss(importance="uniform"), kin=COMMITTEE),
    "committee, prior weights": Arm(lambda: CommitteeLoss(importance="prior"), kin=COMMITTEE),
    "committee, with questions": Arm(lambda: CommitteeLoss(question=True), kin=COMMITTEE),
    "committee, interactive": Arm(CommitteeLoss, kin=COMMITTEE, interactive=True),
    "committee, answers follow the student too": Arm(lambda: CommitteeLoss(stop_gradient=False), kin=COMMITTEE),
    "committee, no task regulariser": Arm(lambda: CommitteeLoss(task_weight=0.0, stop_gradient=False), kin=COMMITTEE),
    "committee, no prior": Arm(lambda: CommitteeLoss(prior=None), kin=COMMITTEE),
    "committee, as in the paper": Arm(
        lambda: CommitteeLoss(prior=None, question=True, stop_gradient=False), kin=COMMITTEE
    ),
    "committee, two of three asked": Arm(lambda: CommitteeLoss(top_k=2), kin=COMMITTEE),
    "committee, threshold 0.25": Arm(lambda: CommitteeLoss(importance_threshold=0.25), kin=COMMITTEE),
    "committee and poor teachers": Arm(CommitteeLoss, "members and poor", COMMITTEE),
    "log-mean, transported, and poor teachers": Arm(_teachers_alone, "members and poor"),
}
"""All with default settings of their losses; optimiser settings as tuned for their kin."""


@dataclass(frozen=True)
class Job:
    """One student to train, or the reference to be measured."""

    cell: Cell
    seed: int
    method: str


FIRST = (
    PLAIN,
    REFERENCE,
    COMMITTEE,
    UNTRAINED,
    LOG_MEAN,
    SINGLE,
    "default loss, all three",
    "default loss, best single teacher",
    "committee, two of three asked",
    "committee, threshold 0.25",
    "committee and poor teachers",
)
"""Arms that the goals speak of: they are made before the others."""


def plan() -> list[Job]:
    """All runs: of each seed what the goals speak of, then of each seed the rest; the arms of a pair in turn.

    Whatever the time allows is then a fair comparison.
    """
    rest = tuple(method for method in ARMS if method not in FIRST)
    return [
        Job(cell, seed, method)
        for methods in (FIRST, rest)
        for seed in SEEDS
        for cell in CELLS
        for method in methods
        if cell.modality == "text" or method not in ARMS or not ARMS[method].interactive
    ]


def store_of(suite: Suite) -> Store:
    return Store(suite.folder, "committee", COLUMNS)


def measure(suite: Suite, jobs: Sequence[Job], *, seconds: float | None) -> None:
    """Make the missing runs in this process, one after the other; a failure becomes a row that says why."""
    until = None if seconds is None else time.monotonic() + seconds
    tuned, store = settings_of(suite), store_of(suite)
    keys = {job: key_of(suite, job, tuned) for job in jobs}
    done = store.done()
    missing = [job for job in jobs if keys[job] not in done]
    suite.say(f"committees: {len(jobs)} runs planned, {len(missing)} missing")
    for number, job in enumerate(missing):
        if until is not None and time.monotonic() > until:
            break
        store.add(keys[job], [{**blank(job, keys[job]), **_row(suite, job, tuned)}])
        if number % 20 == 19:
            suite.say(f"{number + 1} runs")
    suite.say(f"{len(store.merge())} runs of committees in {suite.folder}")


def rows_of(suite: Suite) -> list[dict[str, str]]:
    """The finished runs of the plan; none of an older format, tuning or loss."""
    tuned = settings_of(suite)
    planned = {key_of(suite, job, tuned) for job in plan()}
    return [row for row in store_of(suite).rows() if row["key"] in planned]


def settings_of(suite: Suite) -> Tuned:
    """The suite's optimiser settings, and those of the committee, tuned now if they were not before.

    Every learning rate of the suite's grid, on the suite's tuning cells, their validation rows and its tuning seeds, as
    every other arm; regularisation as it was best without a teacher.
    """
    tuned, path = Tuned.load(suite.folder / "tuning.json"), suite.folder / TUNING
    if not path.is_file():
        chosen, trials = {}, []
        for modality in ("image", "text"):
            outcomes = []
            for (cell, _), rate, seed in product(TUNED_ON[modality], RATES[modality], TUNING_SEEDS):
                settings = replace(tuned.of(PLAIN, modality), learning_rate=rate, steps=STEPS)
                outcomes.append((settings, _validated(suite, cell, seed, settings)))
                trial = {"task": cell.task, "seed": seed, **settings.recorded()}
                trials.append({**trial, "validation_accuracy": outcomes[-1][1]})
                suite.say(f"tuning the committee: {trials[-1]}")
            chosen[modality] = {COMMITTEE: best(outcomes)}
        Tuned(chosen).save(path, trials)
    committee_settings = Tuned.load(path).chosen
    return Tuned(
        {
            kind: {**arms, **committee_settings.get(kind, {})}
            for kind, arms in {**dict.fromkeys(committee_settings, {}), **tuned.chosen}.items()
        }
    )


def _validated(suite: Suite, cell: Cell, seed: int, settings: Settings) -> float:
    task = task_of(cell.task, cell.labels, seed)
    tuned = Tuned({task.modality: {COMMITTEE: settings}})
    trainer = trainer_of(suite, task, seed, ARMS[COMMITTEE], members_of(suite, cell, seed), tuned)
    trainer.train()
    return measured(trainer, task.validation)[0]


def key_of(suite: Suite, job: Job, tuned: Tuned) -> str:
    """Identifies a run by all that shapes it."""
    arm = ARMS.get(job.method)
    tuned_settings = tuned.of(PLAIN if arm is None else arm.kin, job.cell.modality)
    loss = {}
    if arm is not None:
        made = arm.make_loss(tuned_settings.loss_weight)
        loss = {"name": made.name, **made.settings(), "who": arm.who}
    pool = [teacher.revision for teacher in _pool(suite, job.cell)]
    content = [FORMAT, BATCH[job.cell.modality], asdict(job), tuned_settings.recorded(), loss, pool]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def blank(job: Job, key: str) -> dict[str, object]:
    values = {
        "key": key,
        "task": job.cell.task,
        "labels": job.cell.labels,
        "modality": job.cell.modality,
        "method": job.method,
        "seed": job.seed,
    }
    return {name: values.get(name, "") for name in COLUMNS}


def _row(suite: Suite, job: Job, tuned: Tuned) -> dict[str, object]:
    started = time.perf_counter()
    try:
        outcome = _reference(suite, job) if job.method == REFERENCE else _trained(suite, job, tuned)
    except (RuntimeError, ValueError, KeyError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        suite.say(f"{job.cell}, {job.method}, seed {job.seed} failed: {reason}")
        return {"error": reason}
    return {**outcome, "seconds": round(time.perf_counter() - started, 2)}


def _trained(suite: Suite, job: Job, tuned: Tuned) -> dict[str, object]:
    arm = ARMS.get(job.method)
    task = task_of(job.cell.task, job.cell.labels, job.seed)
    settings = tuned.of(PLAIN if arm is None else arm.kin, task.modality)
    teachers = () if arm is None else _teachers(suite, job, arm)
    trainer = trainer_of(suite, task, job.seed, arm, teachers, tuned)
    trainer.train()
    (test, f1), (validation, _) = measured(trainer, task.test), measured(trainer, task.validation)
    passes = trainer.teacher_runner.passes
    return {
        "teachers": " + ".join(teacher.name for teacher in teachers),
        "accuracy": test,
        "macro_f1": f1,
        "validation_accuracy": validation,
        "skipped": round(passes.skipped / max(passes.offered, 1), 4),
        "steps": settings.steps,
        "learning_rate": settings.learning_rate,
    }


def trainer_of(
    suite: Suite,
    task: DemoTask,
    seed: int,
    arm: Arm | None,
    teachers: Sequence[TeacherCandidate],
    tuned: Tuned,
    build: StudentBuilder = build_student,
) -> DistillationTrainer:
    """A trainer as every arm has it."""
    student, processing_class = build(task, seed=seed)
    settings = tuned.of(PLAIN if arm is None else arm.kin, task.modality)
    taught_by: list[TeacherCandidate | Teacher] = list(teachers)
    loss = None if arm is None else arm.make_loss(settings.loss_weight)
    if arm is not None and arm.interactive:
        loaded = [Teacher.load(teacher, task.modality) for teacher in teachers]
        taught_by, loss = list(loaded), InteractiveCommittee([teacher.model for teacher in loaded])
    trainer = DistillationTrainer(
        student,
        config_of(settings, task.modality, seed=seed, work=suite.run_settings.work),
        teachers=taught_by or None,
        loss=loss,
        train_dataset=task.train(),
        processing_class=processing_class,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _teachers(suite: Suite, job: Job, arm: Arm) -> tuple[TeacherCandidate, ...]:
    left_out = {"classifiers": HEADLESS, "without pretrained": PRETRAINED}.get(arm.who, ())
    members = members_of(suite, job.cell, job.seed, left_out)
    if arm.who == "first":
        return members[:1]
    if arm.who == "random":
        return (members[int(np.random.default_rng(job.seed).integers(len(members)))],)
    if arm.who != "members and poor":
        return members
    by_name = candidates(suite.run_settings.zoos[job.cell.modality])
    poor = (by_name[name] for name in POOR[job.cell.modality])
    return (*members, *(teacher for teacher in poor if teacher not in members))


@lru_cache(maxsize=4)
def _members(pool: tuple[TeacherCandidate, ...], cell: Cell, seed: int, work: str) -> tuple[TeacherCandidate, ...]:
    task = task_of(cell.task, cell.labels, seed)
    selector = TeacherSelector(metrics=(), cache_dir=Path(work) / "selection", seed=seed, progress=False)
    committee = selector.select_committee(pool, task.labelled, MEMBERS)
    others = (candidate for candidate in committee.ranking.top(len(pool)) if candidate not in committee.members)
    return (*committee.members, *others)[:MEMBERS]


def members_of(suite: Suite, cell: Cell, seed: int, left_out: tuple[str, ...] = ()) -> tuple[TeacherCandidate, ...]:
    """Three teachers of other tasks, as the selector chooses them on the labelled rows alone.

    Where it stops at fewer, the next ones of its ranking fill up, so that all committees are of one size.
    """
    return _members(_pool(suite, cell, left_out), cell, seed, suite.run_settings.work)


def _pool(suite: Suite, cell: Cell, left_out: tuple[str, ...] = ()) -> tuple[TeacherCandidate, ...]:
    """Every teacher of the fair subset but that of the target's own labels."""
    by_name = candidates(suite.run_settings.zoos[cell.modality])
    names = [name for name in TEACHERS[cell.modality] if name not in (SAME_TASK.get(cell.task), *left_out)]
    return tuple(by_name[name] for name in names if name in by_name)


def _reference(suite: Suite, job: Job) -> dict[str, object]:
    """The same-task teacher on the test rows, among the target's classes."""
    task = task_of(job.cell.task, job.cell.labels, job.seed)
    candidate = candidates(suite.run_settings.zoos[task.modality])[SAME_TASK[job.cell.task]]
    teacher = Teacher.load(candidate, task.modality)
    space = teacher.label_space
    if space is None:
        raise ValueError(f"{candidate.name} has no head")
    rows = TargetRows.of(task.test, evaluation=True)
    stored = compute_outputs(teacher, rows, cache_dir=Path(suite.run_settings.work) / "outputs", progress=False)
    outputs = stored.select(torch.arange(len(rows)))
    columns = [space.names.index(name) for name in task.label_names]
    right = outputs.logits[:, columns].argmax(dim=1) == rows.labels
    return {"teachers": candidate.name, "accuracy": right.float().mean().item()}
