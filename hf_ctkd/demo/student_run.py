"""One training run of a student of the demo, in its own process."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import torch
from transformers import PrinterCallback
from transformers import logging as transformers_logging

from hf_ctkd.demo.students import build_student
from hf_ctkd.demo.tasks import build_task
from hf_ctkd.losses import DistillationLoss, RowTransportLoss, TeacherFreeLoss
from hf_ctkd.records import Confidence, TeacherCandidate, TeacherRanking
from hf_ctkd.training import DistillationConfig, DistillationTrainer


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
        input_features: without a teacher, distill from the input features (`TeacherFreeLoss`); with neither, the
            student trains on labelled rows alone.
        ranking: file of the ranking that the teacher comes from, for the card; None to save no student.
        folder: output folder of the trainer.
        command: command line for the record.
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


@dataclass(frozen=True)
class RunResult:
    """Test results of a run.

    Args:
        run: the run.
        results: metrics on the test rows, with intervals.
        correct: whether each test row is predicted correctly, `[rows]`.
    """

    run: StudentRun
    results: Mapping[str, Confidence]
    correct: np.ndarray


def _loss(run: StudentRun) -> DistillationLoss | None:
    if run.teacher is not None:
        return RowTransportLoss()
    return TeacherFreeLoss() if run.input_features else None


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
    student, processing_class = build_student(task, seed=run.seed)
    trainer = DistillationTrainer(
        student,
        DistillationConfig(
            run.folder,
            max_steps=run.steps,
            learning_rate=run.learning_rate,
            weight_decay=run.regularisation,
            label_smoothing_factor=run.regularisation,
            per_device_train_batch_size=64,
            per_device_eval_batch_size=128,
            seed=run.seed,
            use_cpu=True,
            disable_tqdm=True,
            cache_student_inputs=True,
            save_strategy="no",
            logging_strategy="no",
            dataset_name=f"built-in task {run.task}",
        ),
        teachers=None if run.teacher is None else [run.teacher],
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
    predicted = np.asarray(prediction.predictions).argmax(axis=1)
    return RunResult(run, trainer.results, predicted == prediction.label_ids)
