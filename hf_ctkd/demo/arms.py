"""One student of the demo, trained in a process of its own."""

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
class Arm:
    """One student to train: on a task's seed, from a teacher or from none.

    Args:
        task: name of the built-in task.
        labels: rows that keep their label.
        seed: of the labelled rows, the student's weights and the batches.
        steps: optimiser steps.
        learning_rate: of the student.
        regularisation: weight decay and label smoothing.
        teacher: to distill from; None for none: then, without input features, labelled rows alone teach.
        input_features: without a teacher, learn from what the student's own input says, as the one with a teacher does
            too.
        ranking: file of the ranking that the teacher came from, for the card; None to save no student.
        folder: of the trainer.
        command: what the record says to run.
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
class Outcome:
    """What came out of an arm.

    Args:
        arm: what was trained.
        results: of an evaluation on the test rows.
        correct: which test rows are predicted right, `[rows]`.
    """

    arm: Arm
    results: Mapping[str, Confidence]
    correct: np.ndarray


def _loss(arm: Arm) -> DistillationLoss | None:
    if arm.teacher is not None:
        return RowTransportLoss()
    return TeacherFreeLoss() if arm.input_features else None


def train_arm(arm: Arm) -> Outcome:
    """Train one student, evaluate it on the test rows and, if asked to, save it with its records."""
    torch.set_num_threads(1)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    datasets.disable_progress_bars()
    task = build_task(arm.task, labels=arm.labels, seed=arm.seed)
    student, processing_class = build_student(task, seed=arm.seed)
    trainer = DistillationTrainer(
        student,
        DistillationConfig(
            arm.folder,
            max_steps=arm.steps,
            learning_rate=arm.learning_rate,
            weight_decay=arm.regularisation,
            label_smoothing_factor=arm.regularisation,
            per_device_train_batch_size=64,
            per_device_eval_batch_size=128,
            seed=arm.seed,
            use_cpu=True,
            disable_tqdm=True,
            cache_student_inputs=True,
            save_strategy="no",
            logging_strategy="no",
            dataset_name=f"built-in task {arm.task}",
        ),
        teachers=None if arm.teacher is None else [arm.teacher],
        loss=_loss(arm),
        train_dataset=task.train(),
        eval_dataset=task.test,
        processing_class=processing_class,
        ranking=None if arm.ranking is None else TeacherRanking.load(arm.ranking),
    )
    trainer.remove_callback(PrinterCallback)  # one line of its own from each of two processes says nothing to a reader
    trainer.train()
    trainer.evaluate()
    prediction = trainer.predict(task.test)
    if arm.ranking is not None:
        trainer.save_model()
        trainer.record(command=arm.command).save(Path(arm.folder) / "distillation.json")
    predicted = np.asarray(prediction.predictions).argmax(axis=1)
    return Outcome(arm, trainer.results, predicted == prediction.label_ids)
