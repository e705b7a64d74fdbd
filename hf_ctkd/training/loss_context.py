"""What a loss is set up with: labels, and outputs of the teachers and of the untrained student."""

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils.logging import get_logger

from hf_ctkd.data import InputFeatureReader, Preprocessor, TargetRows
from hf_ctkd.data.stored_features import LayeredRows
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import DistillationLoss, LossContext, RowTransportLoss
from hf_ctkd.probes.labelled import CHUNK_ROWS
from hf_ctkd.tasks import StudentTask
from hf_ctkd.training.config import DistillationConfig
from hf_ctkd.training.labelled_rows import rows_of_epoch
from hf_ctkd.training.schedule import is_pretrained
from hf_ctkd.training.student_with_loss import StudentWithLoss
from hf_ctkd.training.teacher_runner import TeacherRunner
from hf_ctkd.types import ModelOutputs, Needs, RowOutputs

logger = get_logger(__name__)


def loss_of_run(
    given: DistillationLoss | None,
    task: StudentTask,
    student: PreTrainedModel,
    args: DistillationConfig,
    *,
    teachers: bool,
    fixed_rows: bool,
) -> DistillationLoss | None:
    """The loss that the user gave, or `default_loss`; None for labels alone.

    A warning in the log says so if a pretrained student is to learn from the raw input of the rows.

    Args:
        given: by the user.
        task: of the run.
        student: before training.
        args: of the run.
        teachers: whether there are any.
        fixed_rows: whether rows are neither augmented nor streamed.
    """
    loss = default_loss(task, student, args, fixed_rows=fixed_rows) if given is None and teachers else given
    if loss is not None and Needs.INPUT in loss.needs and is_pretrained(student):
        logger.warning(
            f"{loss.name} also learns from the raw input of the rows, which is meant for students with random weights: "
            "this one is pretrained. `RowTransportLoss(input_features='student')` compares teachers with its own "
            "features. That is the default where `cache_teacher_outputs` is True and rows are neither augmented nor "
            "streamed."
        )
    return loss


def default_loss(
    task: StudentTask, student: PreTrainedModel, args: DistillationConfig, *, fixed_rows: bool
) -> DistillationLoss:
    """The loss of a run whose user names none: the task's, for a pretrained student compared with its own features.

    With `input_features="student"`, a student whose teachers know no more than it does learns from its own layers. With
    `input_features=True`, a teacher with random weights and the words of the rows cost the student eleven points of
    accuracy against labels alone: on validation rows of the first pretrained cell of the evidence suite
    (`benchmarks/evidence/results/pretrained.csv`).

    Args:
        task: of the run.
        student: before training.
        args: of the run.
        fixed_rows: whether rows are neither augmented nor streamed.
    """
    loss = task.default_loss()
    if type(loss) is RowTransportLoss and fixed_rows and args.cache_teacher_outputs and is_pretrained(student):
        return RowTransportLoss(input_features="student")
    return loss


class _Autocast(Protocol):
    """Such as `Accelerator.autocast`."""

    def __call__(self) -> AbstractContextManager: ...


@dataclass(frozen=True, eq=False)
class StudentRows(RowOutputs):
    """The student's features, layers and logits on the training rows, computed when they are read.

    The student runs in evaluation mode, and its layers are pooled like those of a teacher. Nothing is stored: the
    outputs are those of the untrained student only as long as it has not been trained.

    Args:
        student_with_loss: the student.
        preprocessor: the student's.
        rows: the training rows.
        batch_size: rows a forward pass.
        autocast: context of each forward pass.
        layers: most layers of the student that are read too.
    """

    student_with_loss: StudentWithLoss
    preprocessor: Preprocessor
    rows: TargetRows
    batch_size: int
    autocast: _Autocast
    layers: int = 0

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows)

    def select(self, rows: Tensor) -> ModelOutputs:
        """The outputs of some rows, by index or mask, on the CPU; see `RowOutputs.select`."""
        numbers = torch.arange(len(self))[rows.cpu()]
        training = self.student_with_loss.training
        self.student_with_loss.eval()
        parts = [self._outputs(batch.tolist()) for batch in numbers.split(self.batch_size)]
        self.student_with_loss.train(training)
        logits = [part.logits for part in parts if part.logits is not None]
        return ModelOutputs(
            torch.cat([part.features for part in parts]),
            torch.cat(logits) if logits else None,
            layers=tuple(torch.cat(layer) for layer in zip(*(part.layers for part in parts), strict=True)),
        )

    def _outputs(self, numbers: list[int]) -> ModelOutputs:
        student = self.student_with_loss.student
        inputs = {
            name: values.to(student.device) for name, values in self.preprocessor(self.rows.inputs(numbers)).items()
        }
        with torch.no_grad(), self.autocast():
            outputs = self.student_with_loss.reader.read(inputs, layers=self.layers > 0, max_layers=max(self.layers, 1))
        logits = None if outputs.logits is None else outputs.logits.float().cpu()
        layers = tuple(layer.float().cpu() for layer in outputs.layers)
        return ModelOutputs(outputs.features.float().cpu(), logits, layers=layers)


def with_student_rows(
    context: LossContext, outputs: StudentRows, loss: DistillationLoss, args: DistillationConfig, folder: Path
) -> tuple[LossContext, LossContext]:
    """The context with outputs of the untrained student: as read during training, and as the loss is set up with.

    For a loss with `Needs.STUDENT` the student's features, and its layers if it has `Needs.LAYERS` too, are computed
    once, chunk by chunk, into memory or a temporary file, and are in both contexts. For any other loss, the second
    context alone has the student's outputs, which are computed when they are read.

    Args:
        context: of the run.
        outputs: of the untrained student over all training rows.
        loss: of the run.
        args: of the run: most layers that are read.
        folder: where a temporary file is written.

    Returns:
        The context for during and after training, and the one for `DistillationLoss.setup`.
    """
    if Needs.STUDENT not in loss.needs:
        return context, replace(context, student_rows=outputs)
    outputs = replace(outputs, layers=args.teacher_layers if Needs.LAYERS in loss.needs else 0)
    parts = (part for _, part in outputs.chunks(CHUNK_ROWS))
    context = replace(context, student_rows=LayeredRows.store(parts, len(outputs), folder))
    return context, context


def loss_context(
    loss: DistillationLoss | None,
    rows: TargetRows | None,
    *,
    student: ModelOutputs,
    teachers: tuple[RowOutputs, ...],
    runner: TeacherRunner,
    preprocessor: Preprocessor,
    task: StudentTask,
    args: DistillationConfig,
    once: bool,
    folder: Path,
) -> tuple[InputFeatureReader | None, LossContext | None]:
    """A reader of the student's input features, for a loss that needs them, and the context to set the loss up with.

    Args:
        loss: of the run.
        rows: the training rows; None where the student is only evaluated, and nothing is set up.
        student: outputs of the untrained student on a few rows.
        teachers: outputs of each teacher, over all rows for a loss with `Needs.FIT`.
        runner: the loaded teachers.
        preprocessor: the student's.
        task: what the student is for.
        args: of the run.
        once: whether the targets of the loss are computed before training.
        folder: where temporary files are written.

    Raises:
        InvalidArgumentError: if the loss has `Needs.STUDENT`, but its targets are not computed before training.
    """
    if rows is None:
        return None, None
    read = rows_of_epoch(rows, task, loss, args)
    times_read = read.bincount(minlength=len(rows))
    rows = runner.finite.select(rows)
    reader: InputFeatureReader | None = None
    inputs: RowOutputs | None = None
    needs = Needs.NOTHING if loss is None else loss.needs
    if Needs.STUDENT in needs and not once:
        raise InvalidArgumentError(
            f"`loss` {type(loss).__name__} reads the student before it is trained, so rows must not change: no "
            "`augmentation`, no stream, no hidden layers and `cache_teacher_outputs=True`. Read its input instead."
        )
    if Needs.INPUT in needs:
        reader, inputs = InputFeatureReader.of(preprocessor, rows, folder=folder)
    return reader, LossContext(
        labels=rows.labels,
        label_space=rows.label_space,
        student=student.to("cpu"),
        teachers=teachers,
        teacher_label_spaces=tuple(teacher.label_space for teacher in runner.teachers),
        seed=args.seed,
        inputs=inputs,
        targets=task.targets(rows) if Needs.TARGETS in needs else None,
        steps=planned_steps(args, len(read)),
        times_read=times_read if runner.finite.numbers is None else times_read[runner.finite.numbers],
    )


def planned_steps(args: DistillationConfig, rows: int) -> int:
    """Optimiser steps of a whole training; up to one fewer an epoch are taken where its last batch is dropped.

    Args:
        args: of the run.
        rows: number of rows that an epoch reads, repeated ones included; see `rows_of_epoch`.
    """
    if args.max_steps > 0:
        return args.max_steps
    batches = math.ceil(rows / (args.per_device_train_batch_size * max(args.world_size, 1)))
    return math.ceil(args.num_train_epochs * math.ceil(batches / args.gradient_accumulation_steps))
