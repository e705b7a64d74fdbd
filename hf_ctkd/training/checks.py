"""Checks of what a trainer is given, before training starts: arguments, data sets, student, teachers and optimizer."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import datasets
import torch
from torch import nn
from torch.torch_version import TorchVersion
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments, set_seed
from transformers.utils.logging import get_logger

from hf_ctkd.data import Preprocessor, ProcessingClass, TargetRows
from hf_ctkd.data.notices import warn_once
from hf_ctkd.data.preprocessing import longest_text
from hf_ctkd.data.splits import overlap
from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.losses import DistillationLoss
from hf_ctkd.records import TeacherCandidate
from hf_ctkd.tasks import StudentTask, first_student, listed
from hf_ctkd.teachers import Teacher
from hf_ctkd.training.adapter import StudentAdapter
from hf_ctkd.training.config import DistillationConfig
from hf_ctkd.training.labelled_rows import only_labelled
from hf_ctkd.training.student_with_loss import StudentWithLoss
from hf_ctkd.training.teacher_runner import TeacherLike
from hf_ctkd.types import ModelOutputs, Needs

logger = get_logger(__name__)

_CHECKED_ROWS = 4
"""Rows that the untrained student runs on, to compare its outputs with the labels."""
_LONGEST_TEXTS = 32
"""Texts, the longest by characters, that are tokenised to see whether any is cut."""
_OFFSET_POSITIONS = 2
"""RoBERTa and its relatives number positions from 2 on: a limit that differs by so little is no reason to warn."""
_BY_LENGTH = ("group_by_length", "batch_rebalance")


# ---- arguments ------------------------------------------------------------------------------------------------------


def check_config(args: TrainingArguments, kind: type[DistillationConfig]) -> None:
    """Refuse the arguments of another trainer.

    Args:
        args: as given.
        kind: the class that they must have.

    Raises:
        InvalidArgumentError: if they are of another class.
    """
    if not isinstance(args, kind):
        raise InvalidArgumentError(
            f"`args` must be a {kind.__name__}, got {type(args).__name__}. It takes the same arguments and a few more."
        )


def check_teachers_and_loss(teachers: object, loss: object) -> None:
    """Refuse `teachers` that is no list of teachers, and a `loss` that is no `DistillationLoss`.

    Args:
        teachers: as given to the trainer.
        loss: as given to the trainer.

    Raises:
        InvalidArgumentError: naming what was given instead.
    """
    if loss is not None and not isinstance(loss, DistillationLoss):
        given = f"the class {loss.__name__}" if isinstance(loss, type) else repr(loss)
        raise InvalidArgumentError(f"`loss` must be an object, such as RowTransportLoss(), got {given}.")
    if teachers is None:
        return
    if isinstance(teachers, str) or not isinstance(teachers, Sequence):
        raise InvalidArgumentError(
            f"`teachers` must be a list of candidates, Hub ids, folders or loaded teachers, got "
            f"{_described(teachers)}. Put a single teacher into a list."
        )
    if not teachers:
        raise InvalidArgumentError(
            "`teachers` must name at least one, got an empty list. Give None for a student without any."
        )
    for teacher in teachers:
        if not isinstance(teacher, str | TeacherCandidate | Teacher):
            raise InvalidArgumentError(
                f"`teachers` must hold candidates, Hub ids, folders or loaded teachers, got {_described(teacher)}. "
                "Give a folder as a string."
            )


def check_arguments(
    args: DistillationConfig,
    processing_class: ProcessingClass | None,
    compute_metrics: Callable[..., dict] | None,
    preprocess_logits_for_metrics: Callable[..., torch.Tensor] | None = None,
) -> ProcessingClass:
    """Refuse arguments of `transformers.TrainingArguments` that do not work on raw rows, and a missing processor.

    Args:
        args: of the run.
        processing_class: the student's image processor or tokenizer.
        compute_metrics: as given by the user; None for the default metrics.
        preprocess_logits_for_metrics: as given by the user.

    Returns:
        The processor.

    Raises:
        InvalidArgumentError: naming the argument.
    """
    check_config(args, DistillationConfig)
    if "inputs" in args.include_for_metrics:
        raise InvalidArgumentError(
            "`include_for_metrics` must not ask for 'inputs', which are raw rows here. Leave it out."
        )
    if args.include_num_input_tokens_seen != "no":
        raise InvalidArgumentError(
            f"`include_num_input_tokens_seen` must be 'no', got {args.include_num_input_tokens_seen!r}: each model has "
            "its own tokens of a raw row."
        )
    if args.train_sampling_strategy in _BY_LENGTH:
        raise InvalidArgumentError(
            f"`train_sampling_strategy` must be 'random' or 'sequential', got {args.train_sampling_strategy!r}: raw "
            "rows have no length before they are batched."
        )
    if args.batch_eval_metrics and compute_metrics is None:
        raise InvalidArgumentError(
            "`batch_eval_metrics` needs a `compute_metrics` of your own, as the usual metrics are computed over all "
            "rows at once. Leave it out, or pass one."
        )
    if not args.eval_do_concat_batches and compute_metrics is None:
        raise InvalidArgumentError(
            "`eval_do_concat_batches` must be True for the usual metrics, which are computed over all rows at once. "
            "Leave it out, or pass a `compute_metrics` of your own."
        )
    if preprocess_logits_for_metrics is not None and compute_metrics is None:
        raise InvalidArgumentError(
            "`preprocess_logits_for_metrics` needs a `compute_metrics` of your own, as the usual metrics read logits "
            "that nothing has changed. Pass one, or leave it out."
        )
    if args.fp16 and args.device.type == "cpu":
        # accelerate leaves it out without a word, as a CPU has no scaled float16.
        raise InvalidArgumentError(
            "`fp16` needs an accelerator, but this run trains on the CPU. Use `bf16`, or leave it out."
        )
    if args.torch_compile and TorchVersion(torch.__version__) < "2.7":
        raise InvalidArgumentError(
            f"`torch_compile` needs torch 2.7 or later here, got {torch.__version__}, whose tracer fails at the "
            "outputs of transformers. Update torch, or leave it out."
        )
    if args.n_gpu > 1:
        raise InvalidArgumentError("Several GPUs need one process each. Start the script with `accelerate launch`.")
    if processing_class is None:
        raise InvalidArgumentError("`processing_class` must be the student's image processor or tokenizer, got None.")
    return processing_class


def check_task_loss(args: DistillationConfig, compute_loss_func: object) -> None:
    """Refuse a function for the task loss beside settings of the loss that it takes the place of.

    Args:
        args: of the run.
        compute_loss_func: as given to the trainer.

    Raises:
        InvalidArgumentError: naming the argument without effect.
    """
    if compute_loss_func is None:
        return
    if not callable(compute_loss_func):
        raise InvalidArgumentError(
            f"`compute_loss_func` must be a function of outputs and labels, got {_described(compute_loss_func)}. Pass "
            "one, or leave it out for the task's own loss."
        )
    for name, given in (("class_weights", args.class_weights), ("label_smoothing_factor", args.label_smoothing_factor)):
        if given:
            raise InvalidArgumentError(
                f"`{name}` has no effect beside a `compute_loss_func`, got {given!r}. Leave one of them out."
            )


def _described(value: object) -> str:
    return repr(value) if isinstance(value, str) else type(value).__name__


# ---- rows -----------------------------------------------------------------------------------------------------------


def first_split(train: object, evaluation: object) -> datasets.Dataset | None:
    """A split whose labels show what the student is for, None without any.

    Args:
        train: the training rows as given.
        evaluation: the evaluation rows as given, or a dictionary of them.
    """
    splits = [train, *(evaluation.values() if isinstance(evaluation, dict) else [evaluation])]
    return next((split for split in splits if isinstance(split, datasets.Dataset)), None)


def training_rows(
    dataset: datasets.Dataset | None, args: DistillationConfig, task: StudentTask, *, only_labels: bool
) -> TargetRows | None:
    """The training rows, None without any.

    Args:
        dataset: as given to the trainer.
        args: of the run.
        task: what the student is for.
        only_labels: whether labels alone teach the student, so that unlabelled rows are left out.

    Raises:
        DatasetError: if they cannot be used.
    """
    rows = None if dataset is None else task.rows(dataset, args)
    return only_labelled(rows, task, "There is no distillation loss") if rows is not None and only_labels else rows


def evaluation_rows(
    dataset: datasets.Dataset | Mapping[str, datasets.Dataset] | None,
    args: DistillationConfig,
    train: TargetRows | None,
    task: StudentTask,
) -> dict[str, TargetRows]:
    """The rows of each evaluation set by its name; a single data set has the empty name.

    Args:
        dataset: as given to the trainer.
        args: of the run.
        train: the training rows; None without any.
        task: what the student is for.

    Raises:
        DatasetError: if they cannot be used, or their classes are not those of the training rows.
    """
    given = {} if dataset is None else dict(dataset) if isinstance(dataset, dict) else {"": dataset}
    rows = {name: task.rows(split, args, like=train, evaluation=True) for name, split in given.items()}
    for name in rows if train is not None else ():
        _check_classes(rows[name], train, f"`eval_dataset` {name}".strip())
        _warn_of_overlap(rows[name], train, f"`eval_dataset` {name}".strip())
    return rows


def _warn_of_overlap(rows: TargetRows, train: TargetRows | None, argument: str) -> None:
    """Only a warning: to evaluate on training rows beside others is a usual way to see how far a student fits them."""
    both = None if train is None else overlap(train, rows)
    if both is not None:
        warn_once(f"{argument}: {both}. Its results are too good for new rows.")


def reference_rows(train: TargetRows | None, evaluation: Mapping[str, TargetRows]) -> TargetRows:
    """The rows that define the columns and classes of a run: those trained on, or the first that are evaluated.

    Args:
        train: the training rows.
        evaluation: the evaluation rows by name.

    Raises:
        InvalidArgumentError: if there are neither.
    """
    rows = train or next(iter(evaluation.values()), None)
    if rows is None:
        raise InvalidArgumentError("`train_dataset` or `eval_dataset` must be given, got neither.")
    return rows


def rows_to_predict(dataset: datasets.Dataset, reference: TargetRows, task: StudentTask) -> TargetRows:
    """All rows of a data set, labelled or not.

    Args:
        dataset: one split.
        reference: rows with the same columns and classes.
        task: what the student is for.

    Raises:
        DatasetError: if they cannot be used, or are labelled with other classes.
    """
    rows = task.rows_to_predict(dataset, reference)
    _check_classes(rows, reference, "`test_dataset`")
    return rows


def _check_classes(rows: TargetRows, train: TargetRows | None, argument: str) -> None:
    if train is None or rows.label_space == train.label_space:
        return
    if len(rows.label_space) > len(train.label_space):
        raise DatasetError(
            f"{argument} must have the classes of `train_dataset`: {listed(train.label_space)}, "
            f"got {listed(rows.label_space)}."
        )
    if rows.label_space.informative and train.label_space.informative:
        raise DatasetError(
            f"{argument} must name its classes as `train_dataset` does, in the same order: "
            f"{listed(train.label_space)}, got {listed(rows.label_space)}."
        )


# ---- student --------------------------------------------------------------------------------------------------------


def initial_student(model: nn.Module | None, model_init: Callable[..., nn.Module] | None, seed: int) -> nn.Module:
    """The student that a trainer starts with: the model, or the first of `model_init`, drawn with the seed of the run.

    Args:
        model: as given to the trainer.
        model_init: as given to the trainer.
        seed: set before `model_init` is called, as `Trainer` does.

    Raises:
        InvalidArgumentError: if neither or both are given, or the student is no `PreTrainedModel` in full precision.
    """
    if (model is None) == (model_init is None):
        raise InvalidArgumentError(
            f"`model` or `model_init` must be given, got {'neither' if model is None else 'both'}. Give one of them."
        )
    if model_init is None:
        return check_model(model, "`model` must be")
    set_seed(seed)
    return check_model(first_student(None, model_init), "`model_init` must return")


def check_model(model: object, requirement: str) -> nn.Module:
    """Refuse what is no model of transformers, with or without an adapter, and weights in half precision.

    Optimiser steps smaller than the spacing of half-precision numbers are lost, and half-precision features do not mix
    with the weights of a loss.

    Args:
        model: the student.
        requirement: the beginning of the message: "`model` must be".

    Raises:
        InvalidArgumentError: if it is of another class, or has an adapter that is not in its layers, or any of its
            parameters is in half precision.
    """
    adapter = StudentAdapter.of(model)
    student = model if adapter is None else adapter.student
    if not isinstance(model, nn.Module) or not isinstance(student, PreTrainedModel):
        raise InvalidArgumentError(f"{requirement} a PreTrainedModel, got {type(model).__name__}.")
    for parameter in model.parameters():
        if parameter.is_floating_point() and parameter.dtype.itemsize < torch.float32.itemsize:
            raise InvalidArgumentError(
                f"`model` must have weights in torch.float32 to be trained, got {parameter.dtype}. Load it with "
                "`dtype=torch.float32`; `bf16=True` of the arguments then computes in lower precision."
            )
    return model


def student_preprocessor(
    processing_class: ProcessingClass, rows: TargetRows, student: PreTrainedModel, max_length: int | None
) -> Preprocessor:
    """The student's preprocessing; warns where texts are cut by default although the student could read more of them.

    Args:
        processing_class: the student's image processor or tokenizer.
        rows: raw rows.
        student: the model, whose configuration bounds the length.
        max_length: `DistillationConfig.max_length`.

    Raises:
        InvalidArgumentError: if the processing class does not suit the rows, or the student not the length.
    """
    preprocessor = Preprocessor.of(processing_class, rows.modality, student.config, max_length=max_length)
    if max_length is not None or not isinstance(preprocessor.processing_class, PreTrainedTokenizerBase):
        return preprocessor
    limit = longest_text(preprocessor.processing_class, student.config)
    if limit - preprocessor.max_length > _OFFSET_POSITIONS and _cuts_texts(preprocessor, rows):
        warnings.warn(
            f"Some texts are longer than {preprocessor.max_length} tokens and are cut to that for the student. Set "
            f"`max_length` to let it read up to {limit}, or to {preprocessor.max_length} to leave it so.",
            stacklevel=3,
        )
    return preprocessor


def _cuts_texts(preprocessor: Preprocessor, rows: TargetRows) -> bool:
    """Whether the longest texts, by characters, have more tokens than the student is given."""
    longest = sorted(range(len(rows)), key=rows.text_lengths.__getitem__)[-_LONGEST_TEXTS:]
    longer = replace(preprocessor, max_length=preprocessor.max_length + 1)(rows.inputs(longest))
    return longer["input_ids"].shape[1] > preprocessor.max_length


def warn_of_frozen_head(student_with_loss: StudentWithLoss) -> None:
    """One line in the log where an adapter leaves a head untrained that may be as random as it was made.

    Args:
        student_with_loss: after its first batch, so that its head is known.
    """
    head = student_with_loss.reader.head
    if student_with_loss.adapter is None or head is None or any(p.requires_grad for p in head.parameters()):
        return
    logger.warning(
        "The adapter of `model` leaves the head as it is, which was drawn at random if it was made for these classes. "
        'Name it in `modules_to_save` of the adapter, such as ["classifier"].'
    )


def set_padding(student: PreTrainedModel, processing_class: ProcessingClass) -> None:
    """Tell a student without a padding token which one its tokenizer pads with.

    A decoder that classifies by the last token of a text, such as GPT-2, refuses batches otherwise.

    Args:
        student: the model; its configuration is changed, and saved with it.
        processing_class: that of the student's `Preprocessor`.
    """
    if not isinstance(processing_class, PreTrainedTokenizerBase):
        return
    config = student.config.get_text_config()
    if config.to_dict().get("pad_token_id") is None:
        config.pad_token_id = processing_class.pad_token_id


def check_student(student_with_loss: StudentWithLoss, preprocessor: Preprocessor, rows: TargetRows) -> ModelOutputs:
    """Run the student on a few rows, and let its task compare the outputs with the labels.

    Args:
        student_with_loss: the untrained student.
        preprocessor: the student's.
        rows: raw rows.

    Returns:
        Its outputs on these rows.

    Raises:
        InvalidArgumentError: no head, another number of classes, or the same classes in another order.
    """
    training = student_with_loss.training
    student_with_loss.eval()
    inputs = preprocessor(rows.inputs(range(min(_CHECKED_ROWS, len(rows)))))
    with torch.no_grad():
        outputs = student_with_loss.outputs(
            {name: tensor.to(student_with_loss.student.device) for name, tensor in inputs.items()}
        )
    student_with_loss.train(training)
    student_with_loss.task.check_student(student_with_loss.student, outputs, rows)
    return outputs


# ---- loss -----------------------------------------------------------------------------------------------------------


def check_loss(
    loss: DistillationLoss | None, teachers: Sequence[TeacherLike] | None, rows: TargetRows | None, task: StudentTask
) -> None:
    """Refuse a loss without the teachers that it needs, and a loss that does not suit the task.

    Args:
        loss: of the run; None to train on labels alone.
        teachers: of the run.
        rows: the training rows.
        task: what the student is for.

    Raises:
        InvalidArgumentError: naming what is missing.
        DatasetError: if the loss needs other rows.
    """
    if loss is not None and Needs.TEACHER in loss.needs and not teachers:
        raise InvalidArgumentError(
            f"`teachers` must name at least one for the loss {type(loss).__name__}, got none. Take the first of a "
            "`ranking`, or use TeacherFreeLoss, which needs none."
        )
    if loss is not None:
        task.check_loss(loss, rows)


def check_finite(student: PreTrainedModel, args: DistillationConfig, step: int) -> None:
    """Refuse a student whose training has diverged.

    Args:
        student: after training.
        args: of the run.
        step: at which training ended.

    Raises:
        InvalidArgumentError: if a weight is not finite.
    """
    for name, parameter in student.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise InvalidArgumentError(
                f"Training diverged: after {step} steps, the student's weights are not finite ({name}). Lower "
                f"`learning_rate`, which was {args.learning_rate}, or `weight_decay`, which was {args.weight_decay}."
            )


def check_optimizer(optimizer: torch.optim.Optimizer | None, loss: DistillationLoss | None) -> None:
    """Refuse an optimizer of the user that would leave parameters of the loss untrained.

    Args:
        optimizer: as given by the user; None where the trainer makes it.
        loss: after `setup`.

    Raises:
        InvalidArgumentError: if a parameter of the loss is not among its parameters.
    """
    if optimizer is None or loss is None:
        return
    optimised = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if any(id(parameter) not in optimised for parameter in loss.parameters()):
        raise InvalidArgumentError(
            "`optimizers` must hold the loss's own parameters too, which are made with the trainer. Leave it "
            "out, or subclass."
        )
