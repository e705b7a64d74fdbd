import math
import re

import numpy as np
import pytest

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.training import DistillationConfig
from hf_ctkd.training.ranges import check_ranges


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("per_device_train_batch_size", 0, "between 1 and 2147483647"),
        ("per_device_train_batch_size", 10**20, "between 1 and 2147483647"),
        ("gradient_accumulation_steps", -1, "between 1 and"),
        ("num_train_epochs", -1.0, "0 or more"),
        ("num_train_epochs", math.inf, "a finite number"),
        ("max_steps", 10**20, "between -1 and"),
        ("learning_rate", -1e-3, "0 or more"),
        ("learning_rate", math.nan, "a finite number"),
        ("warmup_steps", math.inf, "a finite number"),
        ("logging_steps", math.inf, "a finite number"),
        ("adam_beta2", 1.0, "between 0 and 1, but not the latter"),
        ("label_smoothing_factor", 1.5, "between 0 and 1"),
        ("seed", -1, "between 0 and 4294967295"),
        ("distillation_weight", -1.0, "0 or more"),
        ("distillation_weight", math.inf, "a finite number"),
        ("labelled_row_weight", math.nan, "a finite number"),
        ("labelled_row_weight", 0, "more than 0"),
        ("teacher_batch_size", 0, "between 1 and"),
        ("resident_teachers", 0, "between 1 and"),
        ("max_length", 0, "between 1 and"),
        ("bootstrap_resamples", -1, "between 0 and"),
    ],
)
def test_a_number_out_of_its_range_is_named(tmp_path, name, value, expected):
    with pytest.raises(InvalidArgumentError, match=re.escape(f"`{name}` must be {expected}")):
        DistillationConfig(str(tmp_path), use_cpu=True, **{name: value})


@pytest.mark.parametrize(("name", "value"), [("learning_rate", "1e-4"), ("teacher_batch_size", [8]), ("seed", "0")])
def test_what_is_no_number_is_named(tmp_path, name, value):
    with pytest.raises(InvalidArgumentError, match=re.escape(f"`{name}` must be a number, ")):
        DistillationConfig(str(tmp_path), use_cpu=True, **{name: value})


def test_numbers_in_their_range_and_what_is_left_open_pass():
    check_ranges(
        {"learning_rate": 0.0, "max_steps": -1, "adam_beta1": 0.0, "seed": 2**32 - 1, "label_smoothing_factor": 1}
    )
    check_ranges({"learning_rate": np.float32(1e-4), "max_steps": np.int64(5)})
    check_ranges({"learning_rate": None, "eval_steps": None, "unknown": -1})
