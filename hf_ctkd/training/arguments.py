"""Checks of what a trainer is given, before anything is made of it."""

from collections.abc import Callable, Sequence

from transformers import TrainingArguments

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import DistillationLoss
from hf_ctkd.records import TeacherCandidate
from hf_ctkd.teachers import Teacher
from hf_ctkd.training.config import DistillationConfig

_BY_LENGTH = ("group_by_length", "batch_rebalance")


def check_config(args: TrainingArguments, kind: type[DistillationConfig]) -> None:
    """Refuse the arguments of another trainer.

    Raises:
        InvalidArgumentError: if they are of another kind.
    """
    if not isinstance(args, kind):
        raise InvalidArgumentError(
            f"`args` must be a {kind.__name__}, got {type(args).__name__}. It takes the same arguments and a few more."
        )


def check_given(teachers: object, loss: object) -> None:
    """Refuse teachers that are no list of any, and a loss that is none.

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
            f"`teachers` must be a list of candidates, Hub ids, folders or loaded teachers, got {_shown(teachers)}. "
            "Put a single teacher into a list."
        )
    if not teachers:
        raise InvalidArgumentError(
            "`teachers` must name at least one, got an empty list. Give None for a student without any."
        )
    for one in teachers:
        if not isinstance(one, str | TeacherCandidate | Teacher):
            raise InvalidArgumentError(
                f"`teachers` must hold candidates, Hub ids, folders or loaded teachers, got {_shown(one)}. "
                "Give a folder as a string."
            )


def check_arguments(args: DistillationConfig, compute_metrics: Callable[..., dict] | None) -> None:
    """Refuse arguments of `transformers.TrainingArguments` that cannot be followed over raw rows.

    Args:
        args: of the run.
        compute_metrics: the user's own, if there is one.

    Raises:
        InvalidArgumentError: naming the argument.
    """
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


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str) else type(value).__name__
