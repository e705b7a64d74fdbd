"""Parts that `Trainer` makes from its arguments long after these were parsed, tried beforehand.

A tracker, optimizer, scheduler or compiler that cannot be made would otherwise be noticed only after the teachers ran.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from accelerate.utils import DynamoBackend
from transformers import Trainer, TrainingArguments, get_scheduler
from transformers.integrations import get_available_reporting_integrations, get_reporting_integration_callbacks
from transformers.utils import is_liger_kernel_available

from hf_ctkd.errors import InvalidArgumentError

REFUSALS = (ValueError, TypeError, KeyError, OverflowError, ImportError, OSError, RuntimeError)
"""What transformers, accelerate and torch raise for values that they cannot use, or packages that are missing."""
_JSON_OBJECTS = (
    "lr_scheduler_kwargs",
    "activation_checkpointing_kwargs",
    "gradient_checkpointing_kwargs",
    "liger_kernel_config",
)

_ANY_RATE = 1e-3


def check_parts(args: TrainingArguments) -> None:
    """Make what `Trainer` is going to make from its arguments, on a model of one number.

    Args:
        args: of the run.

    Raises:
        InvalidArgumentError: naming the flags that a part is made from.
    """
    for name in _JSON_OBJECTS:
        value = vars(args).get(name)  # older versions of transformers lack some
        if value is not None and not isinstance(value, Mapping):
            raise InvalidArgumentError(
                f"`--{name}` must be a JSON object such as '{{\"key\": 1}}', got {value!r}. `--help-all` describes it."
            )
    _check_trackers(args)
    for flags, make in _PARTS.items():
        with _named(flags):
            make(args)


@contextmanager
def _named(flags: str) -> Iterator[None]:
    try:
        yield
    except REFUSALS as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise InvalidArgumentError(
            f"{flags} cannot be used: {reason}. Change the value, or leave it out; `--help-all` describes it."
        ) from error


def _check_trackers(args: TrainingArguments) -> None:
    for name in args.report_to or ():
        try:
            for callback in get_reporting_integration_callbacks([name]):
                callback()
        except REFUSALS as error:
            reason = " ".join(str(error).split()).rstrip(".")
            installed = ", ".join(get_available_reporting_integrations()) or "none of them"
            raise InvalidArgumentError(
                f"`--report_to` {name!r} cannot be used: {reason}. Installed here: {installed}. Install what is "
                "missing, or name others; `none` and `all` stand alone."
            ) from error


def _optimizer(args: TrainingArguments) -> None:
    if args.optim_target_modules is None:  # those of layers need the student's modules
        tried = copy.copy(args)
        if args.learning_rate is None:  # chosen when the student is known
            tried.learning_rate = _ANY_RATE
        optimizer_class, settings = Trainer.get_optimizer_cls_and_kwargs(tried)
        optimizer_class([torch.nn.Parameter(torch.zeros(1))], **settings)


def _scheduler(args: TrainingArguments) -> None:
    settings = args.lr_scheduler_kwargs
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    get_scheduler(
        args.lr_scheduler_type,
        optimizer,
        num_warmup_steps=1,
        num_training_steps=2,
        scheduler_specific_kwargs=dict(settings) if isinstance(settings, Mapping) else {},
    )


def _backend(args: TrainingArguments) -> None:
    if args.torch_compile_backend is not None:
        DynamoBackend(args.torch_compile_backend.upper())


def _mode(args: TrainingArguments) -> None:
    if args.torch_compile_mode is not None:
        torch.compile(torch.nn.Identity(), mode=args.torch_compile_mode)


def _liger(args: TrainingArguments) -> None:
    if args.use_liger_kernel and not is_liger_kernel_available():
        raise ImportError("the package liger-kernel is not installed")


_PARTS: Mapping[str, Callable[[TrainingArguments], None]] = {
    "`--optim` with `--optim_args` and `--learning_rate`": _optimizer,
    "`--lr_scheduler_type` with `--lr_scheduler_kwargs`": _scheduler,
    "`--torch_compile_backend`": _backend,
    "`--torch_compile_mode`": _mode,
    "`--use_liger_kernel`": _liger,
}
