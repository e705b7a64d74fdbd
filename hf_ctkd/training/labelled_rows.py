"""How often rows with a label are read, and how much they count, where others have none."""

import math

import torch
from jaxtyping import Int
from torch import Tensor
from transformers.utils.logging import get_logger

from hf_ctkd.data import TargetRows
from hf_ctkd.losses import DistillationLoss
from hf_ctkd.tasks import StudentTask
from hf_ctkd.training.config import DistillationConfig

logger = get_logger(__name__)


def only_labelled(rows: TargetRows, task: StudentTask, reason: str) -> TargetRows:
    """The labelled rows; all rows where none has a label. A warning in the log counts those left out.

    Args:
        rows: the training rows.
        task: what the student is for.
        reason: the beginning of the warning.
    """
    labelled = task.rows_with_label(rows)
    if len(labelled) in (0, len(rows)):
        return rows
    logger.warning(f"{reason}: the student trains on its {len(labelled)} labelled rows alone, of {len(rows)} rows.")
    return rows.select(labelled)


def rows_to_train_on(
    rows: TargetRows | None, task: StudentTask, loss: DistillationLoss | None, args: DistillationConfig
) -> tuple[bool, TargetRows | None]:
    """Whether the loss has a part in training, and the training rows.

    A loss without strength or weight is left out, and the unlabelled rows with it: they would teach nothing. Warnings
    in the log say why, or what the loss remarks.

    Args:
        rows: all training rows; None where the student is only evaluated.
        task: what the student is for.
        loss: that was set up; None for the task loss alone.
        args: of the run.
    """
    if loss is None or rows is None:
        return loss is not None, rows
    if has_part(loss, args):
        for remark in loss.remarks():
            logger.warning(remark)
        return True, rows
    reason = why_unused(loss, args)
    left = only_labelled(rows, task, reason)
    if len(left) == len(rows):
        logger.warning(f"{reason}: the student trains on the labels alone.")
    return False, left


def has_part(loss: DistillationLoss, args: DistillationConfig) -> bool:
    """Whether a loss that was set up has a part in training: neither its strength nor its weight is 0.

    Args:
        loss: that was set up.
        args: of the run.
    """
    return args.distillation_weight != 0 and loss.strength() > 0


def why_unused(loss: DistillationLoss, args: DistillationConfig) -> str:
    """Why a loss has no part in training, as the beginning of a sentence.

    Args:
        loss: that was set up.
        args: of the run.
    """
    if args.distillation_weight == 0:
        return "`distillation_weight` is 0"
    return " ".join(loss.remarks()).removesuffix(".") or f"The teachers know nothing that {loss.name} can use"


def largest_row_weight(weight: float, rows: TargetRows | None, task: StudentTask) -> float:
    """The weight of a labelled row in the task loss, at most what makes that loss a mean over labelled rows.

    Args:
        weight: `DistillationConfig.labelled_row_weight`.
        rows: the training rows; None where the student is only evaluated.
        task: what the student is for.
    """
    labelled = 0 if rows is None else len(task.rows_with_label(rows))
    return min(weight, len(rows) / labelled) if rows is not None and labelled else weight


def task_weight(
    loss: DistillationLoss | None, labelled_row_weight: float, step_counts: Int[Tensor, "3"]
) -> Tensor | float:
    """The factor of the task loss of an optimiser step, which is a mean over its labels.

    Beside a loss that teaches labels, each label counts as `labelled_row_weight` of all rows of the step: as a mean
    over labelled rows alone, a few would weigh as much as all others, and the student would memorise them.

    Args:
        loss: of the run; None where labels alone train the student.
        labelled_row_weight: see `largest_row_weight`.
        step_counts: rows, labelled rows and labels of the step, over all processes.
    """
    if loss is None or not loss.teaches_labels:
        return 1.0 if loss is None else loss.task_factor()
    return loss.task_factor() * labelled_row_weight * step_counts[1] / step_counts[0].clamp_min(1)


def rows_of_epoch(
    rows: TargetRows, task: StudentTask, loss: DistillationLoss | None, args: DistillationConfig
) -> Int[Tensor, " read"]:
    """Numbers of the rows that an epoch reads, some of them several times.

    A loss that teaches labels reads every row once, and so does training without a loss. Beside another loss, which
    says nothing of the classes of a row without a label, few labels among many rows would hardly be read: labelled rows
    are repeated until they are `labelled_share` of the rows.

    Args:
        rows: the training rows.
        task: what the student is for.
        loss: in training; None for the task loss alone.
        args: of the run.
    """
    numbers = torch.arange(len(rows))
    if loss is None or loss.teaches_labels:
        return numbers
    labelled = torch.tensor(task.rows_with_label(rows), dtype=torch.int64)
    without = len(rows) - len(labelled)
    read_labelled = round(without * args.labelled_share / (1 - args.labelled_share))
    if len(labelled) == 0 or read_labelled <= len(labelled):
        return numbers
    repeats = labelled.repeat(math.ceil(read_labelled / len(labelled)))
    return torch.cat([numbers, repeats[len(labelled) : read_labelled]])


def epoch_length(
    rows: TargetRows | None, task: StudentTask, loss: DistillationLoss | None, args: DistillationConfig
) -> int | None:
    """How many rows an epoch reads; None without rows to train on. See `rows_of_epoch`."""
    return None if rows is None else len(rows_of_epoch(rows, task, loss, args))


def log_repeats(rows: TargetRows, read: int, loss: DistillationLoss) -> None:
    """Say in the log, at the level of a warning, that labelled rows are repeated, if they are.

    Args:
        rows: the training rows.
        read: rows that an epoch reads.
        loss: beside which they are.
    """
    if read > len(rows):
        logger.warning(
            f"{loss.name} says nothing of the classes of rows without a label, so that labelled rows are repeated: an "
            f"epoch reads {read:,} rows, of which {len(rows):,} are different. Set `labelled_share` to 0 to read every "
            "row once."
        )
