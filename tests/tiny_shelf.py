"""Tiny rows, teachers and students on disk, for the tests of the command line."""

from pathlib import Path

import numpy as np
import torch
from datasets import ClassLabel, Dataset, Features, Image, Value
from PIL import Image as PILImage
from tiny_models import image_processor
from transformers import BertConfig, BertForSequenceClassification, ResNetConfig, ResNetForImageClassification

from hf_ctkd.demo.architectures import wordpiece_tokenizer

SMALL = "--use_cpu --disable_tqdm=true --max_steps=2 --bootstrap_resamples=10 --save_strategy=no".split()  # noqa: SIM905
"""Flags of a training that is over at once."""
NAMES = ["dark", "bright", "striped"]
TEXTS = [f"the {color} {thing} number {n}" for n in range(4) for color in ("red", "green") for thing in ("cat", "dog")]


def image_rows(count: int, *, labels=lambda row: row % 3, names=NAMES, seed: int = 0) -> Dataset:
    generator = np.random.default_rng(seed)
    images = []
    for row in range(count):
        pixels = generator.integers(0, 60, (8, 8)) + (150 if row % 3 == 1 else 0)
        if row % 3 == 2:
            pixels[::2] += 150
        images.append(PILImage.fromarray(pixels.astype(np.uint8)))
    features = Features({"image": Image(), "label": ClassLabel(names=names)})
    return Dataset.from_dict({"image": images, "label": [labels(row) for row in range(count)]}, features=features)


def text_rows(names: bool = False) -> Dataset:
    labels = ["cat" if "cat" in text else "dog" for text in TEXTS]
    if names:
        return Dataset.from_dict({"text": TEXTS, "label": labels})
    features = Features({"text": Value("string"), "label": ClassLabel(names=["cat", "dog"])})
    return Dataset.from_dict({"text": TEXTS, "label": labels}, features=features)


def write_splits(folder: Path, **splits: Dataset) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in splits.items():
        rows.to_parquet(folder / f"{name}.parquet")
    return str(folder)


def save_resnet(folder: Path, classes: int, *, seed: int = 0, headless: bool = False) -> str:
    torch.manual_seed(seed)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic", num_labels=classes)
    model = ResNetForImageClassification(config)
    (model.base_model if headless else model).save_pretrained(folder)
    image_processor(8).save_pretrained(folder)
    return str(folder)


def save_bert(folder: Path, classes: int = 2) -> str:
    torch.manual_seed(0)
    tokenizer = wordpiece_tokenizer(TEXTS, vocabulary=60, length=16)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
        num_labels=classes,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
