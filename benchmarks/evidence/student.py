"""One run: a student trained by one arm on one cell, measured on validation and test rows."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from sklearn.metrics import f1_score
from transformers import PrinterCallback
from transformers import logging as transformers_logging

from benchmarks.evidence.controls import SelfTrainingLoss
from benchmarks.evidence.grid import ALONE, BATCH, METHODS, PLAIN, Run
from benchmarks.evidence.grid import SCORES as RANKING
from benchmarks.evidence.settings import Settings
from hf_ctkd.cli.methods import build_loss
from hf_ctkd.demo.packages import save_whole
from hf_ctkd.demo.students import build_student
from hf_ctkd.demo.tasks import DemoTask, build_task
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.hub import folder_teachers
from hf_ctkd.losses import DistillationLoss, RelationshipMatchingLoss, TeacherFreeLoss
from hf_ctkd.records import TeacherCandidate
from hf_ctkd.training import DistillationConfig, DistillationTrainer
from hf_ctkd.training.teacher_runner import TeacherLike

FORMAT = 3
"""Raise it when the library changes so that earlier runs no longer count."""


@dataclass(frozen=True)
class RunSettings:
    """Where runs find teachers and leave what is no result.

    Args:
        zoos: folders of teachers, by modality.
        work: cached teacher outputs and students for self-training.
    """

    zoos: dict[str, tuple[str, ...]]
    work: str


@dataclass(frozen=True)
class Job:
    """A run with all that shapes its outcome; `plain` are the settings of the student for self-training."""

    run: Run
    settings: Settings
    plain: Settings
    run_settings: RunSettings

    @property
    def steps(self) -> int:
        return self.settings.steps * self.run.times


def quiet() -> None:
    """One thread, no bars and no notices: for every process that trains."""
    torch.set_num_threads(1)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


@lru_cache(maxsize=12)
def task_of(name: str, labels: int, seed: int) -> DemoTask:
    return build_task(name, labels=labels, seed=seed)


@lru_cache(maxsize=4)
def candidates(folders: tuple[str, ...]) -> dict[str, TeacherCandidate]:
    """Teachers of some zoos by name, the first zoo that has one winning."""
    by_name: dict[str, TeacherCandidate] = {}
    for folder in folders:
        for candidate in folder_teachers(folder):
            by_name.setdefault(candidate.name, candidate)
    return by_name


def key_of(job: Job, modality: str) -> str:
    """Identifies a run by all that shapes it: two with the same key have the same outcome."""
    run = job.run
    revision = ""
    if run.teacher:
        revision = candidates(job.run_settings.zoos[modality])[run.teacher].revision
    loss = loss_of(run.method, job.settings.loss_weight)
    used = [job.settings.recorded(), job.plain.recorded() if run.method.startswith("self-training") else {}]
    content = [FORMAT, BATCH[modality], asdict(run), used, revision, {} if loss is None else loss.settings()]
    if loss is not None and not loss.teaches_labels:
        content.append("labelled rows repeated")
    if isinstance(loss, RelationshipMatchingLoss):
        content.append("a mean over the labelled rows read")
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def loss_of(method: str, weight: float | None = None) -> DistillationLoss | None:
    """The loss of an arm; None for the plain student.

    Args:
        method: name of the arm.
        weight: of the loss; None for its default.

    Raises:
        InvalidArgumentError: if the name is neither an arm nor `package.module:Class`.
    """
    if method in (PLAIN, RANKING):
        return None
    made: dict[str, Callable[..., DistillationLoss]] = {
        **METHODS,
        **ALONE,
        "self-training": lambda: SelfTrainingLoss(transported=False),
        "self-training, transported": lambda: SelfTrainingLoss(transported=True),
        # Shares that cost nothing to miss and no sharpening: the posterior as it is read.
        "input features, probe": lambda: TeacherFreeLoss(
            epsilon=1.0, prior_strength=1e-6, self_distillation=0.0, refit_rounds=0
        ),
        "input features, transported": TeacherFreeLoss,
    }
    if method not in made:
        return build_loss(method)
    return made[method]() if weight is None else made[method](weight=weight)


def train(job: Job) -> dict[str, object]:
    """Train and measure one student; what comes back is a row of the table of runs."""
    started = time.perf_counter()
    run = job.run
    task = task_of(run.cell.task, run.cell.labels, run.seed)
    trainer = _trained(job, task)
    test, validation = measured(trainer, task.test), measured(trainer, task.validation)
    if run.method == PLAIN and run.times == 1:
        keep_student(trainer, _plain_folder(job))
    return {
        "key": key_of(job, task.modality),
        "task": run.cell.task,
        "labels": run.cell.labels,
        "modality": task.modality,
        "teacher": run.teacher,
        "method": run.method,
        "seed": run.seed,
        "times": run.times,
        "accuracy": test[0],
        "macro_f1": test[1],
        "validation_accuracy": validation[0],
        "steps": job.steps,
        "learning_rate": job.settings.learning_rate,
        "weight_decay": job.settings.weight_decay,
        "label_smoothing": job.settings.label_smoothing,
        "loss_weight": "" if job.settings.loss_weight is None else job.settings.loss_weight,
        "seconds": round(time.perf_counter() - started, 2),
        "error": "",
    }


def _trained(job: Job, task: DemoTask) -> DistillationTrainer:
    run = job.run
    student, processing_class = build_student(task, seed=run.seed)
    trainer = DistillationTrainer(
        student,
        config_of(replace(job.settings, steps=job.steps), task.modality, seed=run.seed, work=job.run_settings.work),
        teachers=_teachers(job, task),
        loss=loss_of(run.method, job.settings.loss_weight),
        train_dataset=task.train(),
        processing_class=processing_class,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return trainer


def config_of(settings: Settings, modality: str, *, seed: int, work: str) -> DistillationConfig:
    """How every student is trained, whatever its method."""
    return DistillationConfig(
        str(Path(work) / "trainer"),
        max_steps=settings.steps,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        label_smoothing_factor=settings.label_smoothing,
        per_device_train_batch_size=BATCH[modality],
        per_device_eval_batch_size=256,
        seed=seed,
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        bootstrap_resamples=0,
        metrics=[],
        cache_student_inputs=True,
        cache_dir=str(Path(work) / "outputs"),
    )


def _teachers(job: Job, task: DemoTask) -> Sequence[TeacherLike] | None:
    run = job.run
    if run.teacher:
        by_name = candidates(job.run_settings.zoos[task.modality])
        if run.teacher not in by_name:
            raise InvalidArgumentError(f"`teacher` {run.teacher!r} is in none of the zoos. Build it, or name another.")
        return [by_name[run.teacher]]
    if run.method.startswith("self-training"):
        return [str(_plain_student(job, task))]
    return None


def _plain_student(job: Job, task: DemoTask) -> Path:
    """The plain student of the same cell and seed, trained now if it was not trained before."""
    plain = Job(Run(job.run.cell, PLAIN, job.run.seed), job.plain, job.plain, job.run_settings)
    folder = _plain_folder(plain)
    if not folder.is_dir():
        keep_student(_trained(plain, task), folder)
    return folder


def _plain_folder(job: Job) -> Path:
    name = hashlib.sha256(json.dumps([FORMAT, asdict(job.run), job.settings.recorded()]).encode()).hexdigest()[:16]
    return Path(job.run_settings.work) / "students" / name


def keep_student(trainer: DistillationTrainer, folder: Path) -> None:
    """Save a student and what prepares its inputs as a whole folder."""
    save_whole(folder, trainer.student, trainer.processing_class)


def measured(trainer: DistillationTrainer, rows: Dataset) -> tuple[float, float]:
    """Accuracy and macro F1 of a student."""
    output = trainer.predict(rows)
    predicted, labels = np.asarray(output.predictions).argmax(axis=1), np.asarray(output.label_ids)
    f1 = f1_score(labels, predicted, average="macro", zero_division=0.0)
    return float((predicted == labels).mean()), float(f1)
