"""Zero-shot image classifiers as teachers: models for images and texts whose classes are those of the target task."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.modeling_outputs import ImageClassifierOutput
from transformers.utils.logging import get_logger

from hf_ctkd.data.preprocessing import Preprocessor, load_processing_class, longest_text
from hf_ctkd.types import LabelSpace

logger = get_logger(__name__)

TEMPLATE = "a photo of {}"
"""The text of a class, with `{}` for its name."""

# Not here, so read as image encoders without classes: BLIP-2 compares several vectors of an image with a text, SigLIP 2
# of images in any resolution reads lists of patches, VideoPRISM reads videos.
_MODEL_TYPES = ("align", "altclip", "blip", "chinese_clip", "clip", "clipseg", "metaclip_2", "siglip", "tipsv2")
# Trained on texts padded to their full length without a mask, as transformers' pipeline pads them.
_PADDED = ("siglip",)
_TEXTS_A_BATCH = 256


class ZeroShotConfig(PreTrainedConfig):
    """Configuration of a `ZeroShotClassifier`: the classes of the target, and the texts that stand for them.

    Args:
        texts: one for each class.
        base_model_type: of the model for images and texts.
    """

    model_type = "zero_shot_image_classifier"

    texts: tuple[str, ...] = ()
    base_model_type: str = ""


class ZeroShotClassifier(PreTrainedModel):
    """A model for images and texts as a classifier of images, whose classes are given as texts.

    Its head is a linear layer: the weights of a class are the embedding of its text, scaled as the model scales
    similarities, so that the logits are the model's own `logits_per_image`. The input of the head, its features, is the
    image embedding of length one.

    Args:
        model: one that `zero_shot_tokenizer` accepts, on its device.
        tokenizer: of its texts.
        label_space: classes of the target.
        template: text of a class, with `{}` for its name.
    """

    config_class = ZeroShotConfig
    main_input_name = "pixel_values"

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        label_space: LabelSpace,
        template: str = TEMPLATE,
    ) -> None:
        texts = tuple(template.replace("{}", name) for name in label_space.names)
        super().__init__(
            ZeroShotConfig(
                texts=texts, base_model_type=model.config.model_type, id2label=dict(enumerate(label_space.names))
            )
        )
        self.base = model.eval()
        scale, bias = _scale_and_bias(model)
        with torch.no_grad():
            embeddings = _text_embeddings(model, tokenizer, texts)
            self.head = nn.Linear(embeddings.shape[1], len(texts), device=embeddings.device, dtype=embeddings.dtype)
            self.head.weight.copy_(scale * embeddings)
            self.head.bias.copy_(bias.expand(len(texts)))

    def forward(
        self, pixel_values: Tensor, output_hidden_states: bool | None = None, return_dict: bool = True
    ) -> ImageClassifierOutput:
        """Logits of the classes of the target.

        Args:
            pixel_values: `[batch, channels, height, width]`.
            output_hidden_states: also return those of the image encoder.
            return_dict: has no effect; `FeatureReader` gives it to every model.
        """
        outputs = self.base.get_image_features(
            pixel_values=pixel_values, output_hidden_states=bool(output_hidden_states), return_dict=True
        )
        embeddings = _of_length_one(outputs.pooler_output)
        return ImageClassifierOutput(logits=self.head(embeddings), hidden_states=outputs.get("hidden_states"))


def is_zero_shot(config: PreTrainedConfig) -> bool:
    """Whether the weights of a configuration are those of a zero-shot image classifier that can be read here.

    Args:
        config: of a folder.
    """
    if config.model_type not in _MODEL_TYPES or type(config) not in MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING:
        return False
    model_class: Any = MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING[type(config)]
    return not config.architectures or model_class.__name__ in config.architectures


def zero_shot_tokenizer(
    folder: Path, label_space: LabelSpace | None, *, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase | None:
    """The tokenizer that the classes of the target are read with, None where the model has to do without classes.

    Args:
        folder: of the model.
        label_space: classes of the target; None without any.
        trust_remote_code: run tokenizer code from the folder.
    """
    if label_space is None or len(label_space) < 2:  # a single number has no classes
        return None
    if not label_space.informative:
        logger.warning(
            f"The names of the classes, such as {label_space.names[0]!r}, describe nothing: zero-shot teachers are "
            "read as image encoders without classes."
        )
        return None
    try:
        tokenizer = load_processing_class(folder, "text", trust_remote_code=trust_remote_code)
    except (OSError, ValueError):
        tokenizer = None
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        logger.warning("A zero-shot teacher has no tokenizer: it is read as an image encoder without classes.")
        return None
    return tokenizer


def _scale_and_bias(model: PreTrainedModel) -> tuple[Tensor, Tensor]:
    """By how much, and from where, the model scales similarities into logits."""
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    if "temperature" in parameters:  # ALIGN, TIPSv2
        return 1 / parameters["temperature"], torch.zeros_like(parameters["temperature"])
    scale = parameters["logit_scale"].exp()
    return scale, parameters.get("logit_bias", torch.zeros_like(scale))  # SigLIP has a bias


def _text_embeddings(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: tuple[str, ...]
) -> Float[Tensor, "classes width"]:
    encode: Any = model.get_text_features
    accepted = inspect.signature(encode).parameters
    parts = []
    for inputs in _tokenized(model.config, tokenizer, texts):
        batch = {name: tensor.to(model.device) for name, tensor in inputs.items() if name in accepted}
        parts.append(_of_length_one(encode(**batch, return_dict=True).pooler_output))
    return torch.cat(parts)


def _tokenized(
    config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, texts: tuple[str, ...]
) -> Iterator[dict[str, Tensor]]:
    text_config = vars(config)["text_config"]
    preprocessor = Preprocessor.of(tokenizer, "text", text_config)
    for start in range(0, len(texts), _TEXTS_A_BATCH):
        part = texts[start : start + _TEXTS_A_BATCH]
        if config.model_type not in _PADDED:
            yield preprocessor(part)
            continue
        length = longest_text(tokenizer, text_config)
        yield dict(
            tokenizer(
                list(part),
                padding="max_length",
                truncation=True,
                max_length=length,
                return_tensors="pt",
                split_special_tokens=True,
            )
        )


def _of_length_one(embeddings: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
    return embeddings / embeddings.norm(dim=-1, keepdim=True)
