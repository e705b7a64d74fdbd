"""The examples of soft targets train with plain Trainer and sentence-transformers on built-in data, for a few steps."""

import re

import pytest
from transformers import AutoModelForImageClassification


def test_it_trains_with_plain_trainer(run_example, tmp_path):
    flags = ["--output_dir", "student", "--teacher", "random-weights", "--max_steps", "3", "--use_cpu"]
    printed = run_example("soft_targets/run.py", *flags, "--report_to", "none", "--save_strategy", "no")
    assert re.search(r"accuracy 0\.\d{3}", printed)
    assert AutoModelForImageClassification.from_pretrained(tmp_path / "student").config.num_labels == 10


def test_it_trains_a_sentence_encoder(run_example, tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    flags = ["--output_dir", "encoder", "--teacher", "random-weights", "--max_steps", "3", "--use_cpu"]
    printed = run_example("soft_targets/sentence_encoder.py", *flags, "--report_to", "none", "--save_strategy", "no")
    assert re.search(r"accuracy 0\.\d{3}", printed)
    encoder = sentence_transformers.SentenceTransformer(str(tmp_path / "encoder"), device="cpu")
    assert encoder.encode(["a text", "another"]).shape[0] == 2
