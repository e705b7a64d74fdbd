"""The example of soft targets trains with plain Trainer on built-in data, for a few steps."""

import re

from transformers import AutoModelForImageClassification


def test_it_trains_with_plain_trainer(run_example, tmp_path):
    flags = ["--output_dir", "student", "--teacher", "random-weights", "--max_steps", "3", "--use_cpu"]
    printed = run_example("soft_targets/run.py", *flags, "--report_to", "none", "--save_strategy", "no")
    assert re.search(r"accuracy 0\.\d{3}", printed)
    assert AutoModelForImageClassification.from_pretrained(tmp_path / "student").config.num_labels == 10
