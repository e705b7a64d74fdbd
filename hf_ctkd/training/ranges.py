"""Ranges of the numbers among the arguments of a run.

`TrainingArguments` checks a few of them only: the others fail in `Trainer`, torch or itertools, with messages that name
no argument, or train without an effect.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from hf_ctkd.errors import InvalidArgumentError

_MOST = 2**31 - 1
"""Of whole numbers: what C code under torch takes."""


@dataclass(frozen=True)
class Range:
    """The values that a number may have.

    Args:
        least: the smallest value.
        most: the largest value.
        open_end: whether `most` itself is excluded.
        open_start: whether `least` itself is excluded.
    """

    least: float
    most: float = _MOST
    open_end: bool = False
    open_start: bool = False

    def __contains__(self, value: float) -> bool:
        above = self.least < value if self.open_start else self.least <= value
        return above and (value < self.most if self.open_end else value <= self.most)

    def __str__(self) -> str:
        if self.most == math.inf:
            return f"more than {self.least}" if self.open_start else f"{self.least} or more"
        return f"between {self.least} and {self.most}" + (", but not the latter" if self.open_end else "")


_COUNT = Range(1)
_SIZE = Range(0, math.inf, open_end=True)
_RANGES = {
    "per_device_train_batch_size": _COUNT,
    "per_device_eval_batch_size": _COUNT,
    "gradient_accumulation_steps": _COUNT,
    "eval_accumulation_steps": _COUNT,
    "save_total_limit": _COUNT,
    "torch_empty_cache_steps": _COUNT,
    "dataloader_prefetch_factor": _COUNT,
    "ddp_timeout": _COUNT,
    "ddp_bucket_cap_mb": _COUNT,
    "dataloader_num_workers": Range(0, 1024),
    "num_train_epochs": _SIZE,
    "max_steps": Range(-1),
    "warmup_steps": _SIZE,
    "logging_steps": Range(0),
    "save_steps": Range(0),
    "eval_steps": Range(0),
    "eval_delay": _SIZE,
    "learning_rate": _SIZE,
    "weight_decay": _SIZE,
    "adam_beta1": Range(0, 1, open_end=True),
    "adam_beta2": Range(0, 1, open_end=True),
    "adam_epsilon": _SIZE,
    "max_grad_norm": _SIZE,
    "label_smoothing_factor": Range(0, 1),
    "neftune_noise_alpha": _SIZE,
    "distillation_weight": _SIZE,
    "stream_rows": _COUNT,
    "teacher_batch_size": _COUNT,
    "teacher_workers": Range(0, 1024),
    "teacher_layers": _COUNT,
    "max_cache_bytes": _COUNT,
    "resident_teachers": _COUNT,
    "max_length": _COUNT,
    "bootstrap_resamples": Range(0),
    "labelled_row_weight": Range(0, math.inf, open_start=True),  # infinity gives the mean over labelled rows
    "labelled_share": Range(0, 1, open_end=True),
    "seed": Range(0, 2**32 - 1),
    "data_seed": Range(0, 2**32 - 1),
}


def check_ranges(values: Mapping[str, Any]) -> None:
    """Refuse numbers out of their range, and what is no number; None stands for a value that is left open.

    Args:
        values: arguments by name.

    Raises:
        InvalidArgumentError: naming the argument.
    """
    for name, allowed in _RANGES.items():
        value = values.get(name)
        if value is None:
            continue
        if not isinstance(value, Real):
            raise InvalidArgumentError(f"`{name}` must be a number, {allowed}, got {value!r}.")
        if float(value) not in allowed:
            expected = allowed if math.isfinite(value) else "a finite number"
            raise InvalidArgumentError(f"`{name}` must be {expected}, got {value}.")
