"""Checks before training starts, so that nothing is found out half an hour into it."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

import datasets
import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import get_logger

from hf_ctkd.data import Preprocessor, ProcessingClass, TargetRows
from hf_ctkd.data.preprocessing import longest_text
from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.losses import DistillationLoss, LossContext
from hf_ctkd.tasks import Augmentation, StudentTask, listed
from hf_ctkd.training.config import DistillationConfig
from hf_ctkd.training.student_with_loss import StudentWithLoss
from hf_ctkd.training.teacher_runner import TeacherLike, TeacherRunner
from hf_ctkd.types import ModelOutputs, Needs

logger = get_logger(__name__)

_FIRST_ROWS = 4
_LONGEST_ROWS = 32
_SPARED = 2
"""Positions that some models number from 2 on do not have: a student is not told of so few."""
_CONTEXT_ROWS = 32
"""Rows of teachers that run at every step: enough for the means and scales that a loss may take from them."""


def eval_rows(
    dataset: datasets.Dataset | Mapping[str, datasets.Dataset] | None,
    args: DistillationConfig,
    train: TargetRows | None,
    task: StudentTask,
) -> dict[str, TargetRows]:
    """The evaluation rows by name; a single data set has the empty name.

    Raises:
        DatasetError: if they cannot be used, or their classes are not those of the training rows.
    """
    given = {} if dataset is None else dict(dataset) if isinstance(dataset, dict) else {"": dataset}
    found = {}
    for name, split in given.items():
        found[name] = task.rows(split, args, like=train, evaluation=True)
        if train is not None:
            _check_classes(found[name], train, f"`eval_dataset` {name}".strip())
    return found


def labelled_alone(rows: TargetRows, task: StudentTask, reason: str) -> TargetRows:
    """The rows that labels alone can teach from; a line in the log says that the others are left out.

    Args:
        rows: the training rows.
        task: what the student is for.
        reason: the beginning of that line.
    """
    labelled = task.rows_with_label(rows)
    if len(labelled) in (0, len(rows)):
        return rows
    logger.warning(f"{reason}: the student trains on its {len(labelled)} labelled rows alone, of {len(rows)} rows.")
    return rows.select(labelled)


def labelled_row_weight(weight: float, rows: TargetRows | None, task: StudentTask) -> float:
    """For how many rows of a step a labelled one counts in the task loss.

    Args:
        weight: as in `DistillationConfig`.
        rows: the training rows, None where the student is only evaluated.
        task: what the student is for.

    Returns:
        The weight, or what makes the task loss a mean over labelled rows, where that is less.
    """
    labelled = 0 if rows is None else len(task.rows_with_label(rows))
    return min(weight, len(rows) / labelled) if rows is not None and labelled else weight


def rows_to_predict(dataset: datasets.Dataset, known: TargetRows, task: StudentTask) -> TargetRows:
    """All rows of a data set, labelled or not.

    Args:
        dataset: one split.
        known: rows with the same columns and classes.
        task: what the student is for.

    Raises:
        DatasetError: if they cannot be used, or are labelled with other classes.
    """
    rows = task.rows_to_predict(dataset, known)
    _check_classes(rows, known, "`test_dataset`")
    return rows


def student_view(
    processing_class: ProcessingClass, rows: TargetRows, config: PreTrainedConfig, max_length: int | None
) -> Preprocessor:
    """The student's preprocessing; warns where texts are cut although nobody asked for it and the student takes more.

    Args:
        processing_class: the student's image processor or tokenizer.
        rows: raw rows.
        config: of the student.
        max_length: as in `DistillationConfig`.

    Raises:
        InvalidArgumentError: if the processing class does not suit the rows, or the student not the length.
    """
    view = Preprocessor.of(processing_class, rows.modality, config, max_length=max_length)
    if max_length is not None or not isinstance(view.processing_class, PreTrainedTokenizerBase):
        return view
    most = longest_text(view.processing_class, config)
    if most - view.max_length > _SPARED and _any_longer(view, rows):
        warnings.warn(
            f"Some texts are longer than {view.max_length} tokens and are cut to that for the student. Set "
            f"`max_length` to let it read up to {most}, or to {view.max_length} to leave it so.",
            stacklevel=2,
        )
    return view


def check_precision(student: PreTrainedModel) -> None:
    """Refuse half-precision weights: small steps are rounded away in them, and they do not mix with those of a loss.

    Raises:
        InvalidArgumentError: if any of the student's parameters are in half precision.
    """
    for parameter in student.parameters():
        if parameter.is_floating_point() and parameter.dtype.itemsize < torch.float32.itemsize:
            raise InvalidArgumentError(
                f"`model` must have weights in torch.float32 to be trained, got {parameter.dtype}. Load it with "
                "`dtype=torch.float32`; `bf16=True` of the arguments then computes in lower precision."
            )


def check_student(student_with_loss: StudentWithLoss, view: Preprocessor, rows: TargetRows) -> ModelOutputs:
    """Run the student on a few rows and compare what it says with what their labels are; see its task.

    Raises:
        InvalidArgumentError: no head, another number of classes, or the same classes in another order.
    """
    training = student_with_loss.training
    student_with_loss.eval()
    device = student_with_loss.student.device
    batch = {name: tensor.to(device) for name, tensor in view(rows.inputs(range(min(_FIRST_ROWS, len(rows))))).items()}
    with torch.no_grad():
        first = student_with_loss.outputs(batch)
    student_with_loss.train(training)
    student_with_loss.task.check_student(student_with_loss.student, first, rows)
    return first


def check_teachers(
    teachers: Sequence[TeacherLike] | None, loss: DistillationLoss | None, rows: TargetRows | None, task: StudentTask
) -> None:
    """Refuse a loss without the teachers that it needs, and a loss that the task cannot serve.

    Raises:
        InvalidArgumentError: naming what is missing.
        DatasetError: if the loss needs other rows.
    """
    if loss is not None and Needs.TEACHER in loss.needs and not teachers:
        raise InvalidArgumentError(f"`teachers` must name at least one for the loss {type(loss).__name__}, got none.")
    if loss is not None:
        task.check_loss(loss, rows)


def check_optimizer(optimizer: torch.optim.Optimizer | None, loss: DistillationLoss) -> None:
    """Refuse a ready optimizer that would leave the loss's own parameters untrained.

    Raises:
        InvalidArgumentError: if it does.
    """
    if optimizer is None:
        return
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if any(id(parameter) not in held for parameter in loss.parameters()):
        raise InvalidArgumentError(
            "`optimizers` must hold the loss's own parameters too, which are made with the trainer. Leave it "
            "out, or subclass."
        )


def computed_once(args: DistillationConfig, augmentation: Augmentation | None, hidden: tuple[int, ...]) -> bool:
    """Whether teachers run once over all rows, or at every step: rows that change and hidden layers are not kept."""
    return args.cache_teacher_outputs and augmentation is None and not hidden


def loss_context(
    rows: TargetRows,
    student: ModelOutputs,
    teacher_runner: TeacherRunner,
    *,
    inputs: torch.Tensor | None,
    seed: int,
    batch_size: int = _CONTEXT_ROWS,
) -> LossContext:
    """What the loss is told: all outputs of the teachers where they were computed, those of a few rows otherwise.

    Args:
        rows: the training rows.
        student: outputs of the untrained student on a few of them.
        teacher_runner: the teachers, with what was kept of them.
        inputs: the student's own input of all rows as plain features, where the loss reads it.
        seed: of anything random in the fitting.
        batch_size: rows that a teacher can run on at once.
    """
    outputs = teacher_runner.kept
    if not outputs:
        count = min(_CONTEXT_ROWS, batch_size, len(rows))
        spread = rows.inputs([place * len(rows) // count for place in range(count)])
        ready = (teacher_runner.ready(place) for place in range(len(teacher_runner.teachers)))
        outputs = tuple(
            teacher.outputs(teacher.collate(spread), teacher_runner.hidden, layers=teacher_runner.layers).to("cpu")
            for teacher in ready
        )
    return LossContext(
        labels=rows.labels,
        label_space=rows.label_space,
        student=student.to("cpu"),
        teachers=outputs,
        teacher_label_spaces=tuple(teacher.label_space for teacher in teacher_runner.teachers),
        seed=seed,
        inputs=inputs,
    )


def _check_classes(rows: TargetRows, train: TargetRows, argument: str) -> None:
    if rows.label_space == train.label_space:
        return
    if len(rows.label_space) > len(train.label_space):
        raise DatasetError(
            f"{argument} must have the classes of `train_dataset`: {listed(train.label_space)}, "
            f"got {listed(rows.label_space)}."
        )
    if _both_named(rows, train):
        raise DatasetError(
            f"{argument} must name its classes as `train_dataset` does, in the same order: "
            f"{listed(train.label_space)}, got {listed(rows.label_space)}."
        )


def _both_named(one: TargetRows, other: TargetRows) -> bool:
    return one.label_space.informative and other.label_space.informative


def _any_longer(view: Preprocessor, rows: TargetRows) -> bool:
    """Whether a text has more tokens than the view takes; of the longest by their characters."""
    texts = [text for text in rows.inputs(range(len(rows))) if isinstance(text, str)]
    longest = sorted(texts, key=len)[-_LONGEST_ROWS:]
    return replace(view, max_length=view.max_length + 1)(longest)["input_ids"].shape[1] > view.max_length
