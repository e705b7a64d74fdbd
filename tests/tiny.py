"""Tiny rows, students and teachers for the tests of training; importable by scripts that several processes run."""

from pathlib import Path

import numpy as np
import torch
from datasets import ClassLabel, Dataset, Features, Image, Value
from PIL import Image as PILImage
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
)

NAMES = ["dark", "bright", "striped"]
FEW_STEPS = {
    "max_steps": 4,
    "per_device_train_batch_size": 8,
    "learning_rate": 1e-2,
    "use_cpu": True,
    "disable_tqdm": True,
    "logging_steps": 1,
    "save_strategy": "no",
    "bootstrap_resamples": 20,
}
"""Arguments of a training that is over at once."""
WORDS = ["red", "green", "blue", "apple", "grass", "sky", "the", "a", "is", "very"]


def image_rows(count: int = 24, *, unlabelled: int = 0, seed: int = 0) -> Dataset:
    """Dark, bright and striped squares; the last rows have no label."""
    generator = np.random.default_rng(seed)
    images, labels = [], []
    for row in range(count):
        label = row % 3
        pixels = generator.integers(0, 60, (8, 8)) + (150 if label == 1 else 0)
        if label == 2:
            pixels[::2] += 150
        images.append(PILImage.fromarray(pixels.astype(np.uint8)))
        labels.append(label if row < count - unlabelled else -100)
    features = Features({"image": Image(), "label": Value("int64")})
    rows = Dataset.from_dict({"image": images, "label": labels}, features=features)
    return rows if unlabelled else rows.cast_column("label", ClassLabel(names=NAMES))


def text_rows(count: int = 24) -> Dataset:
    """Sentences about one of two things."""
    texts = [
        f"the {WORDS[row % 2]} {WORDS[3 + row % 2]} is {'very ' * (row % 4)}{WORDS[row % 2]}" for row in range(count)
    ]
    features = Features({"text": Value("string"), "label": ClassLabel(names=["fruit", "plant"])})
    return Dataset.from_dict({"text": texts, "label": [row % 2 for row in range(count)]}, features=features)


def processor(size: int = 8) -> ViTImageProcessorPil:
    return ViTImageProcessorPil(size={"height": size, "width": size})


def image_student(classes: int = 3, seed: int = 0) -> ResNetForImageClassification:
    torch.manual_seed(seed)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic", num_labels=classes)
    return ResNetForImageClassification(config)


def normless_student(classes: int = 3, seed: int = 0) -> ViTForImageClassification:
    """Without batch norm or dropout: gradients of a batch are sums of gradients of its rows."""
    torch.manual_seed(seed)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=8, patch_size=4,
        num_labels=classes, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return ViTForImageClassification(config)


def save_image_teacher(folder: Path, *, seed: int = 1, classes: int = 4, size: int = 16) -> Path:
    torch.manual_seed(seed)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], num_labels=classes)
    ResNetForImageClassification(config).save_pretrained(folder)
    processor(size).save_pretrained(folder)
    return folder


def tokenizer(vocabulary: list[str] | None = None) -> PreTrainedTokenizerFast:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(vocabulary or WORDS)]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", model_max_length=32)


def text_model(
    classes: int = 2, *, width: int = 16, seed: int = 0, vocabulary: int = 14
) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=vocabulary, hidden_size=width, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=34, num_labels=classes,
    )  # fmt: skip
    return BertForSequenceClassification(config)


def save_text_teacher(folder: Path) -> Path:
    text_model(5, width=12, seed=3).save_pretrained(folder)
    tokenizer(list(reversed(WORDS))).save_pretrained(folder)
    return folder
