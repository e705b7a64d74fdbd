"""One teacher or one student: trained, measured, kept."""

import shutil
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PrinterCallback, ResNetConfig, ResNetForImageClassification

from benchmarks.evidence.generic.design import (
    BATCH,
    GENERIC,
    STUDENTS,
    TEACHER_DEPTHS,
    TEACHER_WIDTHS,
    Case,
    StudentRun,
    TeacherRun,
)
from hf_ctkd.demo.students import build_student
from hf_ctkd.demo.tasks import DemoTask, build_task, digit_pools
from hf_ctkd.generic import GenericTeacherConfig, GenericTeacherTrainer, PoolMember
from hf_ctkd.hub import folder_teachers
from hf_ctkd.losses import KLLoss
from hf_ctkd.training import DistillationConfig, DistillationTrainer

COLUMNS = (
    "key", "kind", "arm", "target", "student", "seed", "accuracy", "validation_accuracy", "parameters", "steps",
    "learning_rate", "seconds", "processor_seconds", "error",
)  # fmt: skip


@lru_cache(maxsize=8)
def task_of(case: Case, seed: int) -> DemoTask:
    return build_task(case.task, labels=case.labels, seed=seed)


def teacher_rows(case: Case, seed: int) -> Dataset:
    """Labelled rows: those of the students of this seed, or the rest of the digits."""
    return task_of(case, seed).labelled if case.shared else digit_pools()[0]


def untrained_teacher(case: Case, seed: int) -> ResNetForImageClassification:
    names = dict(enumerate(task_of(case, 0).label_names))
    config = ResNetConfig(
        embedding_size=TEACHER_WIDTHS[0],
        hidden_sizes=list(TEACHER_WIDTHS),
        depths=list(TEACHER_DEPTHS),
        layer_type="basic",
        id2label=names,
        label2id={name: number for number, name in names.items()},
    )
    torch.manual_seed(seed)
    return ResNetForImageClassification(config)


def teacher_trainer(run: TeacherRun, work: Path) -> GenericTeacherTrainer:
    trainer = GenericTeacherTrainer(
        untrained_teacher(run.case, run.seed),
        GenericTeacherConfig(
            **_settings(work, run.seed, run.rate, run.case.teacher_steps),
            **run.branches,
            weight_decay=run.regular,
            label_smoothing_factor=run.regular,
        ),
        pool=run.pool,
        train_dataset=teacher_rows(run.case, run.seed),
        processing_class=build_student(task_of(run.case, 0))[1],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def train_teacher(run: TeacherRun, work: Path) -> dict[str, object]:
    """Train a teacher and leave it in its folder; what comes back is a row of the table."""
    trainer = teacher_trainer(run, work)
    seconds, processor = _timed(trainer)
    folder = teacher_folder(run, work)
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    trainer.save_model(str(partial))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    if run.arm == GENERIC:
        for member in STUDENTS:
            trainer.build_student(member).save_pretrained(_start_folder(run, member, work))
    return {
        **dict.fromkeys(COLUMNS, ""),
        "key": run.key,
        "kind": "teacher",
        "arm": run.arm,
        "target": "" if run.target is None or run.pool is None else run.pool.largest.name,
        "seed": run.seed,
        "accuracy": _accuracy(trainer.teacher, run.case, "test"),
        "validation_accuracy": _accuracy(trainer.teacher, run.case, "validation"),
        "parameters": trainer.teacher.num_parameters(),
        "steps": run.case.teacher_steps,
        "learning_rate": run.rate,
        "seconds": seconds,
        "processor_seconds": processor,
    }


def teacher_folder(run: TeacherRun, work: Path) -> Path:
    return work / "teachers" / run.key


def _start_folder(run: TeacherRun, member: PoolMember, work: Path) -> Path:
    """Of a student that starts from its branches on this teacher."""
    return work / "starts" / run.key / member.name.replace(" ", "-")


def first_student(run: StudentRun, work: Path) -> PreTrainedModel:
    """The student before it is distilled."""
    if run.starts_from_branches and run.teacher is not None:
        return ResNetForImageClassification.from_pretrained(_start_folder(run.teacher, run.member, work))
    return run.member.build(task_of(run.case, run.seed).label_space, seed=run.seed)


def train_student(run: StudentRun, work: Path) -> dict[str, object]:
    """Train a student, from its teacher if it has one, by ordinary distillation; what comes back is a row."""
    task = task_of(run.case, run.seed)
    folder = None if run.teacher is None else teacher_folder(run.teacher, work)
    trainer = DistillationTrainer(
        first_student(run, work),
        DistillationConfig(**_settings(work, run.seed, run.rate, run.case.student_steps)),
        teachers=None if folder is None else list(folder_teachers(folder)),
        loss=None if folder is None else KLLoss(run.temperature),
        train_dataset=task.train(),
        processing_class=build_student(task)[1],
    )
    trainer.remove_callback(PrinterCallback)
    seconds, processor = _timed(trainer)
    return {
        **dict.fromkeys(COLUMNS, ""),
        "key": run.key,
        "kind": "student",
        "arm": run.arm,
        "target": "",
        "student": run.member.name,
        "seed": run.seed,
        "accuracy": _accuracy(trainer.student, run.case, "test"),
        "validation_accuracy": _accuracy(trainer.student, run.case, "validation"),
        "parameters": trainer.student.num_parameters(),
        "steps": run.case.student_steps,
        "learning_rate": run.rate,
        "seconds": seconds,
        "processor_seconds": processor,
    }


def _settings(work: Path, seed: int, rate: float, steps: int) -> Mapping[str, Any]:
    return {
        "output_dir": str(work / "trainer"),
        "max_steps": steps,
        "learning_rate": rate,
        "per_device_train_batch_size": BATCH,
        "per_device_eval_batch_size": 256,
        "seed": seed,
        "use_cpu": True,
        "disable_tqdm": True,
        "save_strategy": "no",
        "logging_strategy": "no",
        "bootstrap_resamples": 0,
        "cache_student_inputs": True,
        "cache_dir": str(work / "outputs"),
    }


def _timed(trainer: DistillationTrainer) -> tuple[float, float]:
    """Seconds of training, by the clock and of the processor: other work on the machine moves the first alone."""
    started, processor = time.perf_counter(), time.process_time()
    trainer.train()
    return round(time.perf_counter() - started, 2), round(time.process_time() - processor, 2)


@lru_cache(maxsize=4)
def _evaluated(case: Case, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels and labels of the validation or the test rows, which no seed moves."""
    task = task_of(case, 0)
    rows = {"test": task.test, "validation": task.validation}[split]
    pixels = build_student(task)[1](list(rows["image"]), return_tensors="pt")["pixel_values"]
    return pixels, torch.tensor(rows["label"][:])


@torch.no_grad()
def _accuracy(model: PreTrainedModel, case: Case, split: str) -> float:
    pixels, labels = _evaluated(case, split)
    return float((model.eval()(pixel_values=pixels).logits.argmax(dim=1) == labels).float().mean())
