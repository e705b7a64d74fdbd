"""Every architecture that the Auto classes of the installed transformers know, and a tiny model of each in a folder."""

from dataclasses import dataclass
from pathlib import Path

import torch
from breadth.tiny_configs import IMAGE_SIZE, tiny_config
from tiny_models import WORDS, image_processor
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
    BaseImageProcessor,
    CanineTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Siglip2ImageProcessorPil,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from hf_ctkd.data.rows import Modality

_MODALITIES: dict[str, Modality] = {"pixel_values": "image", "input_ids": "text"}
LARGEST = 2_000_000
"""Parameters above which a configuration was not shrunk."""


@dataclass(frozen=True)
class Architecture:
    """One architecture with one head.

    Args:
        model_type: key of `CONFIG_MAPPING`.
        modality: of the rows.
        classifier: whether it has a classification head.
    """

    model_type: str
    modality: Modality
    classifier: bool

    def __str__(self) -> str:
        return f"{self.model_type}-{'classifier' if self.classifier else 'encoder'}-{self.modality}"

    @property
    def model_class(self) -> type[PreTrainedModel]:
        mapping = MODEL_MAPPING
        if self.classifier:
            images = self.modality == "image"
            mapping = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING if images else MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
        classes = mapping[CONFIG_MAPPING[self.model_type]]
        return classes[0] if isinstance(classes, tuple) else classes

    def build(self, seed: int = 0) -> PreTrainedModel:
        with torch.device("meta"):
            parameters = sum(
                parameter.numel() for parameter in self.model_class(tiny_config(self.model_type)).parameters()
            )
        assert parameters < LARGEST, f"{parameters:,} parameters: {tiny_config(self.model_type)}"
        torch.manual_seed(seed)
        return self.model_class(tiny_config(self.model_type)).eval()

    def processing_class(self) -> PreTrainedTokenizerFast | BaseImageProcessor:
        if self.model_type == "canine":
            return CanineTokenizer()
        if self.modality == "text":
            return tokenizer(padding_side="left" if self.model_type == "xlnet" else "right")
        if self.model_type == "perceiver":
            return image_processor(tiny_config("perceiver").image_size)
        if self.model_type.startswith("siglip2"):
            return Siglip2ImageProcessorPil(patch_size=16, max_num_patches=16)
        return image_processor(IMAGE_SIZE)

    def save(self, folder: Path, seed: int = 0) -> Path:
        self.build(seed).save_pretrained(folder)
        self.processing_class().save_pretrained(folder)
        return folder


def tokenizer(**settings: str) -> PreTrainedTokenizerFast:
    """Whole words between a first and an end token, as encoder-decoder classifiers need them."""
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", bos_token="[CLS]", eos_token="[SEP]", model_max_length=32, **settings,
    )  # fmt: skip


def classifiers() -> list[Architecture]:
    """All architectures with a classification head."""
    return [
        *(Architecture(name, "image", True) for name in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES),
        *(Architecture(name, "text", True) for name in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES),
    ]


def encoders(model_type: str) -> list[Architecture]:
    """What an architecture encodes without a head; nothing for sound, video, or where a library of its own is missing.

    Args:
        model_type: a key of `MODEL_MAPPING_NAMES`. To ask for its class imports its module, so ask for few.
    """
    config_class = CONFIG_MAPPING[model_type]
    if {"vision_config", "text_config"} <= config_class.sub_configs.keys():
        return [Architecture(model_type, "image", False), Architecture(model_type, "text", False)]
    try:
        main_input = Architecture(model_type, "text", False).model_class.main_input_name
    except (ImportError, ValueError):  # a missing library, or a class that the mapping names and nothing exports
        return []
    return [Architecture(model_type, _MODALITIES[name], False) for name in _MODALITIES if main_input == name]
