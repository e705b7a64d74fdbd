"""One training run of a student of the demo, in its own process."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import torch
from transformers import PreTrainedModel, PrinterCallback
from transformers import logging as transformers_logging

from hf_ctkd.data import ProcessingClass
from hf_ctkd.demo.pretrained import pretrained_student, student_folder
from hf_ctkd.demo.students import build_student
from hf_ctkd.demo.tasks import DemoTask, build_task
from hf_ctkd.losses import DistillationLoss, RowTransportLoss, TeacherFreeLoss
from hf_ctkd.records import Confidence, TeacherCandidate, TeacherRanking
from hf_ctkd.training import DistillationConfig, DistillationTrainer
from hf_ctkd.training.teacher_runner import TeacherLike

TOKENS = 32
"""Of a text that a pretrained student reads; nine of ten of the built-in texts are no longer."""


@dataclass(frozen=True)
class StudentRun:
    """One student to train: the task, the teacher and the hyperparameters.

    Args:
        task: name of the built-in task.
        labels: number of labelled rows.
        seed: of the labelled rows, the student's weights and the batches.
        steps: optimiser steps.
        learning_rate: peak learning rate of the student.
        regularisation: value of both weight decay and label smoothing.
        teacher: teacher to distill from, with the default loss; None for no teacher.
        input_features: without a teacher, distill from the input features (`TeacherFreeLoss`), or from the frozen
            layers of a pretrained student; with neither, the student trains on labelled rows alone.
        ranking: file of the ranking that the teacher comes from, for the card; None to save no student.
        folder: output folder of the trainer.
        command: command line for the record.
        models: folder of the pretrained models, whose student is trained; None for a student from scratch.
        batch_size: rows of a step.
    """

    task: str
    labels: int
    seed: int
    steps: int
    learning_rate: float
    regularisation: float
    teacher: TeacherCandidate | None
    folder: str
    ranking: str | None = None
    command: str = ""
    input_features: bool = False
    models: str | None = None
    batch_size: int = 64


@dataclass(frozen=True)
class RunResult:
    """Test results of a run.

    Args:
        run: the run.
        results: metrics on the test rows, with intervals.
        labels: of the test rows, `[rows]`.
        logits: for the test rows, `[rows, classes]`.
    """

    run: StudentRun
    results: Mapping[str, Confidence]
    labels: np.ndarray
    logits: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """Whether each test row is predicted correctly, `[rows]`."""
        return self.logits.argmax(axis=1) == self.labels


def _student(run: StudentRun, task: DemoTask) -> tuple[PreTrainedModel, ProcessingClass]:
    if run.models is None:
        return build_student(task, seed=run.seed)
    return pretrained_student(task, student_folder(Path(run.models)), seed=run.seed)


def _teachers(run: StudentRun) -> list[TeacherLike] | None:
    """The teacher, or the frozen layers of a pretrained student in its place."""
    if run.teacher is not None:
        return [run.teacher]
    return [str(student_folder(Path(run.models)))] if run.input_features and run.models else None


def _loss(run: StudentRun) -> DistillationLoss | None:
    """The default for the student, with a teacher or without."""
    if run.teacher is not None:
        return RowTransportLoss(input_features=True if run.models is None else "student")
    if not run.input_features:
        return None
    return TeacherFreeLoss() if run.models is None else RowTransportLoss(input_features=False)


def train_student(run: StudentRun) -> RunResult:
    """Train one student and evaluate it on the test rows; save it with its records where the run has a ranking.

    Args:
        run: the run.
    """
    torch.set_num_threads(1)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    datasets.disable_progress_bars()
    task = build_task(run.task, labels=run.labels, seed=run.seed)
    student, processing_class = _student(run, task)
    trainer = DistillationTrainer(
        student,
        DistillationConfig(
            run.folder,
            max_steps=run.steps,
            learning_rate=run.learning_rate,
            weight_decay=run.regularisation,
            label_smoothing_factor=run.regularisation,
            per_device_train_batch_size=run.batch_size,
            per_device_eval_batch_size=128,
            seed=run.seed,
            use_cpu=True,
            disable_tqdm=True,
            cache_student_inputs=True,
            max_length=None if run.models is None else TOKENS,
            save_strategy="no",
            logging_strategy="no",
            dataset_name=f"built-in task {run.task}",
        ),
        teachers=_teachers(run),
        loss=_loss(run),
        train_dataset=task.train(),
        eval_dataset=task.test,
        processing_class=processing_class,
        ranking=None if run.ranking is None else TeacherRanking.load(run.ranking),
    )
    trainer.remove_callback(PrinterCallback)  # the lines of several processes would mix
    trainer.train()
    trainer.evaluate()
    prediction = trainer.predict(task.test)
    if run.ranking is not None:
        trainer.save_model()
        trainer.record(command=run.command).save(Path(run.folder) / "distillation.json")
    return RunResult(run, trainer.results, np.asarray(prediction.label_ids), np.asarray(prediction.predictions))
