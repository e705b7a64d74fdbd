"""One model's view of raw rows: its own image processor or tokenizer, applied the same way everywhere."""

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

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.teachers.rows import Modality

ProcessingClass = BaseImageProcessor | PreTrainedTokenizerBase | ProcessorMixin
_LONGEST_TEXT = 512


@dataclass(frozen=True)
class Preprocessor:
    """Turns raw images or texts into one model's input tensors.

    Args:
        processing_class: the model's image processor or tokenizer.
        modality: what the rows are.
        max_length: texts are cut to this many tokens.
        channels: of the images that the model takes: 3 (colour) or 1 (grey).
    """

    processing_class: ProcessingClass
    modality: Modality
    max_length: int = _LONGEST_TEXT
    channels: int = 3

    @classmethod
    def of(cls, processing_class: ProcessingClass, modality: Modality, config: PreTrainedConfig) -> "Preprocessor":
        """For a model, whose configuration bounds the length of a text and gives the channels of an image.

        Raises:
            InvalidArgumentError: if the processing class does not suit the modality.
        """
        is_tokenizer = isinstance(processing_class, PreTrainedTokenizerBase)
        if is_tokenizer != (modality == "text") and not isinstance(processing_class, ProcessorMixin):
            wanted = "a tokenizer" if modality == "text" else "an image processor"
            raise InvalidArgumentError(
                f"`processing_class` must be {wanted} for {modality} rows, got {type(processing_class).__name__}."
            )
        settings = config.to_dict()
        length = _LONGEST_TEXT
        if isinstance(processing_class, PreTrainedTokenizerBase):
            # RoBERTa's positions start after its padding id, so two of them are never used.
            positions = (settings.get("max_position_embeddings") or _LONGEST_TEXT + 2) - 2
            length = min(_LONGEST_TEXT, processing_class.model_max_length, max(positions, 1))
            if processing_class.pad_token is None:
                processing_class.pad_token = processing_class.eos_token
        return cls(processing_class, modality, length, settings.get("num_channels") or 3)

    def __call__(self, inputs: Sequence[PILImage.Image] | Sequence[str]) -> dict[str, Tensor]:
        """A batch of tensors on the CPU, texts padded to the longest of the batch."""
        if self.modality == "text":
            return dict(
                self.processing_class(
                    text=list(inputs), padding=True, truncation=True, max_length=self.max_length, return_tensors="pt"
                )
            )
        mode = "L" if self.channels == 1 else "RGB"
        images = [
            image if image.mode == mode else image.convert(mode) for image in inputs if not isinstance(image, str)
        ]
        return dict(self.processing_class(images=images, return_tensors="pt"))


def load_processing_class(folder: Path | str, modality: Modality) -> ProcessingClass:
    """A model folder's own image processor or tokenizer; no remote code.

    Raises:
        OSError: if the folder has none.
        ValueError: if its type is not known.
    """
    if modality == "text":
        return AutoTokenizer.from_pretrained(folder)
    return AutoImageProcessor.from_pretrained(folder)
