"""Preprocessing of raw rows by a model's own image processor or tokenizer, the same everywhere."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as PILImage
from torch import Tensor
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    BaseImageProcessor,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)

from hf_ctkd.data.images import holds_more_than_8_bits
from hf_ctkd.data.notices import warn_once
from hf_ctkd.data.rows import Modality, RowInput
from hf_ctkd.errors import InvalidArgumentError

ProcessingClass = BaseImageProcessor | PreTrainedTokenizerBase | ProcessorMixin
_LONGEST_TEXT = 512
_NO_LIMIT = int(1e30)  # what transformers writes for a tokenizer without one
_OPAQUE = 255
_IMAGE_PROCESSOR = ("preprocessor_config.json", "processor_config.json")


@dataclass(frozen=True)
class Preprocessor:
    """Turns raw images or texts into one model's input tensors.

    Build it with `Preprocessor.of`. It pads texts to the longest of a batch, lays transparent images on white and
    converts images to the model's number of channels; it does not augment.

    Args:
        processing_class: the model's image processor or tokenizer.
        modality: `"image"` or `"text"`.
        max_length: longest text in tokens; longer ones are truncated.
        channels: number of channels of the model's images: 3 (colour) or 1 (grey).

    Example:
        >>> config = AutoConfig.from_pretrained("models/bert")  # doctest: +SKIP
        >>> tokenizer = AutoTokenizer.from_pretrained("models/bert")  # doctest: +SKIP
        >>> preprocessor = Preprocessor.of(tokenizer, "text", config)  # doctest: +SKIP
        >>> preprocessor(["a red cat", "far"])["input_ids"].shape  # doctest: +SKIP
        torch.Size([2, 5])
    """

    processing_class: ProcessingClass
    modality: Modality
    max_length: int = _LONGEST_TEXT
    channels: int = 3

    @classmethod
    def of(
        cls,
        processing_class: ProcessingClass,
        modality: Modality,
        config: PreTrainedConfig,
        *,
        max_length: int | None = None,
    ) -> "Preprocessor":
        """The preprocessing of a model, whose configuration limits texts and gives the channels of images.

        Args:
            processing_class: the model's image processor or tokenizer.
            modality: `"image"` or `"text"`.
            config: of the model.
            max_length: longest text in tokens; None for 512, or the model's own limit where that is less.

        Raises:
            InvalidArgumentError: if the processing class does not suit the modality, or has no token to pad texts with,
                or the model does not take texts of that length.
        """
        is_tokenizer = isinstance(processing_class, PreTrainedTokenizerBase)
        if is_tokenizer != (modality == "text") and not isinstance(processing_class, ProcessorMixin):
            raise _unsuited(processing_class, modality)
        if max_length is not None and not is_tokenizer:
            raise InvalidArgumentError(
                f"`max_length` is for texts and a tokenizer, got {max_length} for {modality} rows."
            )
        length = _LONGEST_TEXT
        if isinstance(processing_class, PreTrainedTokenizerBase):
            length = _usual_length(processing_class, config) if max_length is None else max_length
            limit = longest_text(processing_class, config)
            if max_length is not None and length > limit:
                raise InvalidArgumentError(
                    f"`max_length` must be at most {limit}, which the model and its tokenizer take, got {max_length}."
                )
            processing_class = _with_padding(processing_class)
        return cls(processing_class, modality, length, config.to_dict().get("num_channels") or 3)

    def __call__(self, inputs: Sequence[RowInput]) -> dict[str, Tensor]:
        """A batch of tensors on the CPU, texts padded to the longest of the batch; special tokens in a text are text.

        Args:
            inputs: raw images, texts, or pairs of texts; of a pair that is too long, the longer text is cut first.

        Raises:
            InvalidArgumentError: an image with more than 8 bits a channel.
        """
        if self.modality == "text":
            if isinstance(self.processing_class, BaseImageProcessor):
                raise _unsuited(self.processing_class, self.modality)
            columns = _text_columns(inputs)
            return dict(
                self.processing_class(
                    **columns,
                    padding=True,
                    truncation=True,
                    max_length=self.max_length,
                    return_tensors="pt",
                    # A `</s>` that stands in a text is text: as a token it would end the text, and BART refuses a batch
                    # whose rows have unequal numbers of it.
                    split_special_tokens=True,
                )
            )
        mode = "L" if self.channels == 1 else "RGB"
        images = [converted(image, mode) for image in inputs if isinstance(image, PILImage.Image)]
        return dict(self.processing_class(images=images, return_tensors="pt"))


def longest_text(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> int:
    """Largest number of tokens of a text that a model and its tokenizer take."""
    limit = _tokenizer_limit(tokenizer)
    return min(limit, _positions(config) or limit)


def _tokenizer_limit(tokenizer: PreTrainedTokenizerBase) -> int:
    limit = tokenizer.model_max_length
    if not isinstance(limit, int | float) or not limit >= 1:
        raise InvalidArgumentError(
            f"`processing_class` takes texts of {limit!r} tokens at most (`model_max_length`), which is no length. "
            "Set it to the model's longest text."
        )
    return int(min(limit, _NO_LIMIT))


def load_processing_class(
    folder: Path | str, modality: Modality, *, trust_remote_code: bool = False
) -> BaseImageProcessor | PreTrainedTokenizerBase:
    """The image processor or tokenizer of a model folder.

    Args:
        folder: the model's folder.
        modality: `"text"` for its tokenizer, `"image"` for its image processor.
        trust_remote_code: run processor code from the folder.

    Raises:
        OSError: if the folder has none, or one without a vocabulary.
        ValueError: if it is malformed, or of an unknown type.
    """
    if modality == "image":
        try:
            return AutoImageProcessor.from_pretrained(folder, trust_remote_code=trust_remote_code)
        except OSError as error:
            if any((Path(folder) / name).is_file() for name in _IMAGE_PROCESSOR):
                raise
            raise OSError(f"no image processor ({_IMAGE_PROCESSOR[0]}) in {folder}") from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except Exception as error:
        if type(error) is Exception:  # all that the tokenizers package ever raises for a malformed tokenizer.json
            raise ValueError(f"its tokenizer is malformed: {error}") from error
        raise
    # Without a vocabulary file transformers silently makes a tokenizer to which every word is unknown.
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        raise OSError(f"no tokenizer with a vocabulary in {folder}")
    return tokenizer


def _positions(config: PreTrainedConfig) -> int | None:
    attribute = config.attribute_map.get("max_position_embeddings", "max_position_embeddings")
    return config.to_dict().get(attribute)


def _usual_length(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> int:
    # RoBERTa's positions start after its padding id, so two of them are never used.
    positions = (_positions(config) or _LONGEST_TEXT + 2) - 2
    return min(_LONGEST_TEXT, _tokenizer_limit(tokenizer), max(positions, 1))


def _unsuited(processing_class: ProcessingClass, modality: Modality) -> InvalidArgumentError:
    expected = "a tokenizer" if modality == "text" else "an image processor"
    return InvalidArgumentError(
        f"`processing_class` must be {expected} for {modality} rows, got {type(processing_class).__name__}."
    )


def _text_columns(inputs: Sequence[RowInput]) -> dict[str, list[str]]:
    """Texts, or the first and the second texts of pairs, as tokenizers take them."""
    texts = [(each,) if isinstance(each, str) else each for each in inputs if not isinstance(each, PILImage.Image)]
    return dict(zip(("text", "text_pair"), map(list, zip(*texts, strict=True)), strict=False))


def converted(image: PILImage.Image, mode: str) -> PILImage.Image:
    """An image in another mode, a transparent one laid on white.

    Args:
        image: with at most 8 bits a channel.
        mode: of Pillow, "RGB" or "L".

    Raises:
        InvalidArgumentError: if it has more bits.
    """
    if holds_more_than_8_bits(image.mode):
        raise InvalidArgumentError(
            f"`inputs` must be images of 8 bits a channel, got one of mode {image.mode!r}. Scale it to 8 bits first."
        )
    if image.has_transparency_data:
        return _on_white(image).convert(mode)
    return image if image.mode == mode else image.convert(mode)


def _on_white(image: PILImage.Image) -> PILImage.Image:
    """The image as a viewer shows it on a white page: what lies under transparent pixels is arbitrary, often black."""
    # Pillow converts a premultiplied "La" to "LA" alone.
    layers = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    least, _ = layers.getchannel("A").getextrema()
    if least == _OPAQUE:
        return layers
    warn_once("Some images are transparent: they are laid on white.")
    return PILImage.alpha_composite(PILImage.new("RGBA", layers.size, "white"), layers)


def _with_padding(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer, or a copy that pads with its end token if it has no padding token."""
    if tokenizer.pad_token is not None:
        return tokenizer
    if tokenizer.eos_token is None:
        raise InvalidArgumentError(
            "`processing_class` has neither a padding nor an end token, so texts cannot be batched. "
            "Set its `pad_token`."
        )
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
