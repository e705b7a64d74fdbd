"""Tiny real models built from their configurations, and rows for them; test modules import what they need."""

import io
from pathlib import Path

import numpy as np
import torch
from datasets import ClassLabel, Dataset, Features, Image, Value
from PIL import Image as PILImage
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ResNetConfig,
    ResNetForImageClassification,
    ViTImageProcessorPil,
)

from hf_ctkd.hub import folder_teachers
from hf_ctkd.records import TeacherCandidate

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (*SPECIAL, "a", "red", "blue", "green", "cat", "dog", "house", "runs", "sleeps", "far", "near")
TINY = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}


def word_tokenizer(**special) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words."""
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, **{"pad_token": "[PAD]", "unk_token": "[UNK]", **special})


def tiny_resnet(labels: int = 3, seed: int = 0) -> PreTrainedModel:
    torch.manual_seed(seed)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=labels)
    return ResNetForImageClassification(config)


def tiny_bert(labels: int = 3, **settings) -> PreTrainedModel:
    torch.manual_seed(0)
    settings = {**TINY, "vocab_size": len(WORDS), "max_position_embeddings": 32, **settings}
    return BertForSequenceClassification(BertConfig(num_labels=labels, **settings))


def image_processor(size: int = 16) -> ViTImageProcessorPil:
    return ViTImageProcessorPil(size={"height": size, "width": size})


def save(folder: Path, model: PreTrainedModel, processing_class=None) -> TeacherCandidate:
    """A model's folder as a candidate."""
    model.save_pretrained(folder)
    if processing_class is not None:
        processing_class.save_pretrained(folder)
    return next(folder_teachers(folder))


def encoded(pixels: np.ndarray) -> bytes:
    """A picture as its file holds it."""
    stream = io.BytesIO()
    PILImage.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def png(value: int, size: int = 8) -> bytes:
    """A picture of noise of its own."""
    return encoded(np.random.default_rng(value).integers(0, 255, (size, size)))


def image_rows(contents: list[bytes | None], labels: list[int | None], names=("cat", "dog", "fox")) -> Dataset:
    """Rows as they are stored: encoded pictures, decoded on access."""
    features = Features({"image": Image(), "label": ClassLabel(names=list(names))})
    stored = [None if content is None else {"bytes": content, "path": None} for content in contents]
    return Dataset.from_dict({"image": stored, "label": labels}, features=features)


def text_rows(texts: list[str | None], labels: list[int | None], names=("cat", "dog", "fox")) -> Dataset:
    features = Features({"text": Value("string"), "label": ClassLabel(names=list(names))})
    return Dataset.from_dict({"text": texts, "label": labels}, features=features)
