import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification, AutoTokenizer

from hf_ctkd.demo.architectures import IMAGE_ARCHITECTURES, TEXT_ARCHITECTURES, bpe_tokenizer, wordpiece_tokenizer

ROOT = Path(__file__).parents[2]
TEXTS = ["Compute the mean of an array", "Filter a signal over time", "Solve for the roots"] * 20


@pytest.mark.parametrize("name", IMAGE_ARCHITECTURES)
def test_image_architectures_read_what_their_processor_makes(name):
    from hf_ctkd.demo.images import digits_dataset

    architecture = IMAGE_ARCHITECTURES[name]
    model = AutoModelForImageClassification.from_config(architecture.config())
    pixels = architecture.processor()(digits_dataset()[:3]["image"], return_tensors="pt")["pixel_values"]
    assert pixels.shape == (3, 3, architecture.size, architecture.size)
    assert torch.isfinite(model(pixels).logits).all()
    assert model.num_parameters() < 200_000


@pytest.mark.parametrize("name", TEXT_ARCHITECTURES)
def test_text_architectures_read_the_longest_text_of_their_tokenizer(name):
    architecture = TEXT_ARCHITECTURES[name]
    tokenizer = architecture.tokenizer(TEXTS)
    model = AutoModelForSequenceClassification.from_config(architecture.config(tokenizer))
    batch = tokenizer(["mean " * 200, "roots"], truncation=True, padding=True, return_tensors="pt")
    assert batch["input_ids"].shape[1] == tokenizer.model_max_length
    assert torch.isfinite(model(**batch).logits).all()


@pytest.mark.parametrize("train", [wordpiece_tokenizer, bpe_tokenizer])
def test_tokenizers_round_trip_and_differ(train, tmp_path):
    tokenizer = train(TEXTS)
    tokenizer.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)(TEXTS[0])["input_ids"] == tokenizer(TEXTS[0])["input_ids"]
    assert wordpiece_tokenizer(TEXTS).tokenize(TEXTS[0]) != bpe_tokenizer(TEXTS).tokenize(TEXTS[0])


def test_vocabularies_are_the_same_in_every_process():
    """This process has random hashes of strings, the other one has those of a fixed seed."""
    code = (
        "import json\nfrom hf_ctkd.demo.architectures import bpe_tokenizer, wordpiece_tokenizer\n"
        f"print(json.dumps([train({TEXTS!r}).get_vocab() for train in (wordpiece_tokenizer, bpe_tokenizer)]))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT)},
    ).stdout  # fmt: skip
    assert json.loads(printed) == [train(TEXTS).get_vocab() for train in (wordpiece_tokenizer, bpe_tokenizer)]


def test_rare_words_are_spelled_and_frequent_ones_kept_whole():
    tokenizer = wordpiece_tokenizer(["matrix matrix vector", "matrix of tops"])
    assert tokenizer.tokenize("matrix") == ["matrix"]
    assert tokenizer.tokenize("tops") == ["t", "##o", "##p", "##s"]
