"""Tiny students for the built-in tasks: a model with random weights and its image processor or tokenizer."""

from collections.abc import Callable

import torch
from transformers import (
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    BertConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ResNetConfig,
    ViTImageProcessorPil,
)

from hf_ctkd.demo.architectures import INITIALIZER_RANGE, wordpiece_tokenizer
from hf_ctkd.demo.tasks import DemoTask
from hf_ctkd.errors import InvalidArgumentError


def build_student(
    task: DemoTask, *, seed: int = 0
) -> tuple[PreTrainedModel, ViTImageProcessorPil | PreTrainedTokenizerFast]:
    """A new student for a task, with its image processor or tokenizer.

    Use it where every method must start from the same random weights, as in the demo and the evidence suite. For your
    own work, fine-tune a pretrained model instead.

    Args:
        task: its modality and classes set the architecture; the tokenizer is trained on its texts.
        seed: of the weights.

    Example:
        >>> task = build_task("digits", labels=50, seed=0)
        >>> model, processor = build_student(task, seed=1)
        >>> model.config.num_labels
        10
    """
    return text_student(task, seed=seed) if task.modality == "text" else image_student(task, seed=seed)


def image_student(task: DemoTask, *, seed: int = 0) -> tuple[PreTrainedModel, ViTImageProcessorPil]:
    """A ResNet of about 20,000 parameters for 16x16 images.

    Args:
        task: an image task.
        seed: of the weights.

    Raises:
        InvalidArgumentError: if the task has no images.
    """
    _require(task, "image")
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16, 32], depths=[1, 1, 1], layer_type="basic")
    processor = ViTImageProcessorPil(size={"height": 16, "width": 16}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    return _seeded(AutoModelForImageClassification.from_config, config, task, seed), processor


def text_student(task: DemoTask, *, seed: int = 0) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A one-layer BERT of about 70,000 parameters, with a WordPiece tokenizer of the training texts.

    Args:
        task: a text task.
        seed: of the weights.

    Raises:
        InvalidArgumentError: if the task has no texts.
    """
    _require(task, "text")
    tokenizer = wordpiece_tokenizer(task.train()["text"][:], vocabulary=1000, length=32)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=32,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=INITIALIZER_RANGE,
    )
    return _seeded(AutoModelForSequenceClassification.from_config, config, task, seed), tokenizer


def _seeded(
    build: Callable[[PreTrainedConfig], PreTrainedModel], config: PreTrainedConfig, task: DemoTask, seed: int
) -> PreTrainedModel:
    config.id2label = dict(enumerate(task.label_names))
    config.label2id = {name: index for index, name in enumerate(task.label_names)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(config)


def _require(task: DemoTask, modality: str) -> None:
    if task.modality != modality:
        raise InvalidArgumentError(
            f"`task` {task.name!r} has {task.modality} rows, but this student takes {modality} rows. "
            "Use `build_student`."
        )
