"""Input features: a row's pixels or token counts, without any model; the teacher-free baseline reads them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from PIL import Image as PILImage
from sklearn.feature_extraction.text import HashingVectorizer
from torch import Tensor

from hf_ctkd.data.preprocessing import Preprocessor, converted
from hf_ctkd.data.progress import row_bar
from hf_ctkd.data.rows import RowInput, TargetRows
from hf_ctkd.data.stored_features import store_features
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.types import ModelOutputs, RowOutputs

SIDE = 16
"""Largest number of pixels a side; larger images are averaged, as more pixels are noise to a linear probe."""
BUCKETS = 2048
"""Number of token counts; tokens of a larger vocabulary share them."""


class InputFeatureReader:
    """Reads pixels, or token counts weighted by rarity, from a model's preprocessed rows.

    A probe of these features is a strong baseline without a teacher: a teacher that predicts the classes no better is
    not worth distilling. It cannot serve for inputs other than pixels and tokens.

    Args:
        rarity: `[buckets]`, log of the number of rows over the number of rows with the token; None for images.

    Reference:
        Token weights: after Sparck Jones, "A statistical interpretation of term specificity", 1972.

    Example:
        >>> reader = InputFeatureReader()
        >>> reader.read({"pixel_values": torch.zeros(2, 3, 64, 64)}).shape
        torch.Size([2, 768])
    """

    def __init__(self, rarity: Float[Tensor, " buckets"] | None = None) -> None:
        self.rarity = rarity

    @classmethod
    def of(
        cls, preprocessor: Preprocessor, rows: TargetRows, *, folder: Path | None = None, batch_size: int = 256
    ) -> tuple["InputFeatureReader", RowOutputs]:
        """A reader with the rarity of each token among some rows, and the features of these rows, in their order.

        Args:
            preprocessor: of the model whose inputs are read.
            rows: raw rows.
            folder: of a temporary file for features that would take much memory; None to keep them in memory.
            batch_size: rows preprocessed at once.

        Raises:
            InvalidArgumentError: if the model's inputs are neither pixels nor tokens, or the file cannot be written.
            DatasetError: a row that cannot be read.
        """
        return cls._of_all((_plain(preprocessor(inputs)) for inputs in _batches(rows, batch_size)), rows, folder)

    @classmethod
    def without_model(cls, rows: TargetRows, *, folder: Path | None = None, batch_size: int = 256) -> RowOutputs:
        """The features of some rows where no model preprocesses them: pixels of small colour images, or whole words.

        Use it where no student is chosen yet. Texts without spaces between words tell little by it.

        Args:
            rows: raw rows.
            folder: as in `of`.
            batch_size: rows read at once.

        Raises:
            DatasetError: a row that cannot be read.
            InvalidArgumentError: if the file cannot be written.
        """
        _, features = cls._of_all((_read_plainly(inputs) for inputs in _batches(rows, batch_size)), rows, folder)
        return features

    @classmethod
    def _of_all(
        cls, parts: Iterator[Float[Tensor, "_ width"]], rows: TargetRows, folder: Path | None
    ) -> tuple["InputFeatureReader", RowOutputs]:
        """Pixels as they are; counts of tokens weighted by their rarity among the rows."""
        if rows.modality == "image":
            return cls(), store_features(parts, len(rows), folder)
        with_token = torch.zeros(BUCKETS)  # number of rows

        def counted() -> Iterator[Tensor]:
            for part in parts:
                with_token.add_((part > 0).sum(dim=0))
                yield part

        counts = store_features(counted(), len(rows), folder)
        # A token of every row, such as the first one, tells the classes apart by nothing: its weight is 0.
        reader = cls((len(rows) / (1 + with_token)).log().clamp_min(0.0))
        return reader, _WeightedCounts(reader, counts)

    def read(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "batch width"]:
        """Features of preprocessed rows, on their device.

        Args:
            batch: a model's inputs.

        Raises:
            InvalidArgumentError: if they are neither pixels nor tokens.
        """
        return self.weighted(_plain(batch))

    def weighted(self, counts: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """Counts of tokens weighted by their rarity, each row of length 1; pixels as they are.

        Args:
            counts: of some rows.
        """
        if self.rarity is None:
            return counts
        return F.normalize(counts * self.rarity.to(counts.device), dim=1)


@dataclass(frozen=True, eq=False)
class _WeightedCounts(RowOutputs):
    """Counts of tokens of all rows, weighted as they are read: their rarity is known once all rows are stored."""

    reader: InputFeatureReader
    counts: RowOutputs

    def __len__(self) -> int:
        return len(self.counts)

    def select(self, rows: Tensor) -> ModelOutputs:
        return ModelOutputs(self.reader.weighted(self.counts.select(rows).features))


def _batches(rows: TargetRows, size: int) -> Iterator[Sequence[RowInput]]:
    with row_bar(len(rows), "input features") as bar:
        for start in range(0, len(rows), size):
            numbers = range(start, min(start + size, len(rows)))
            yield rows.inputs(numbers)
            bar.update(len(numbers))


def _read_plainly(inputs: Sequence[RowInput]) -> Float[Tensor, "rows width"]:
    """Pixels, or counts of words, of rows that no model preprocesses."""
    images = [converted(image, "RGB") for image in inputs if isinstance(image, PILImage.Image)]
    if images:
        pixels = np.stack([np.asarray(image.resize((SIDE, SIDE), PILImage.Resampling.BILINEAR)) for image in images])
        return torch.from_numpy(pixels).flatten(1).float() / 255
    texts = [
        text if isinstance(text, str) else " ".join(text) for text in inputs if not isinstance(text, PILImage.Image)
    ]
    words = HashingVectorizer(n_features=BUCKETS, norm=None, alternate_sign=False, token_pattern=r"(?u)\b\w+\b")
    return torch.from_numpy(words.transform(texts).toarray()).float()


def _plain(batch: Mapping[str, Tensor]) -> Float[Tensor, "rows width"]:
    if "input_ids" in batch:
        return _counts(batch["input_ids"], batch.get("attention_mask"))
    pixels = batch.get("pixel_values")
    if pixels is None or pixels.ndim != 4:
        raise InvalidArgumentError(
            f"The student's inputs must hold `input_ids` or `pixel_values` [batch, channels, height, width] for input "
            f"features, got {', '.join(batch)}. Choose a loss that reads teachers alone, such as "
            "RowTransportLoss(input_features=False)."
        )
    height, width = pixels.shape[-2:]
    if max(height, width) > SIDE:
        pixels = F.adaptive_avg_pool2d(pixels.float(), (min(SIDE, height), min(SIDE, width)))
    return pixels.flatten(1).float()


def _counts(
    input_ids: Int[Tensor, "rows length"], mask: Int[Tensor, "rows length"] | None
) -> Float[Tensor, "rows buckets"]:
    weights = torch.ones_like(input_ids, dtype=torch.float32) if mask is None else mask.float()
    return torch.zeros(len(input_ids), BUCKETS, device=input_ids.device).scatter_add_(1, input_ids % BUCKETS, weights)
