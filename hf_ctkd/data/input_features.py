"""Input features: a row's pixels or token counts, without any model; the teacher-free baseline reads them."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.data.preprocessing import Preprocessor
from hf_ctkd.data.rows import TargetRows
from hf_ctkd.errors import InvalidArgumentError

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
        cls, preprocessor: Preprocessor, rows: TargetRows, *, batch_size: int = 256
    ) -> tuple["InputFeatureReader", Float[Tensor, "rows width"]]:
        """A reader with the rarity of each token among some rows, and the features of these rows, in their order.

        Args:
            preprocessor: of the model whose inputs are read.
            rows: raw rows.
            batch_size: rows preprocessed at once.

        Raises:
            InvalidArgumentError: if the model's inputs are neither pixels nor tokens.
            DatasetError: a row that cannot be read.
        """
        starts = range(0, len(rows), batch_size)
        parts = [
            _plain(preprocessor(rows.inputs(range(start, min(start + batch_size, len(rows)))))) for start in starts
        ]
        if rows.modality == "image":
            return cls(), torch.cat(parts)
        counts = torch.cat(parts)
        # A token of every row, such as the first one, tells the classes apart by nothing: its weight is 0.
        reader = cls((len(counts) / (1 + (counts > 0).sum(dim=0))).log().clamp_min(0.0))
        return reader, reader._weighted(counts)

    def read(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "batch width"]:
        """Features of preprocessed rows, on their device.

        Args:
            batch: a model's inputs.

        Raises:
            InvalidArgumentError: if they are neither pixels nor tokens.
        """
        plain = _plain(batch)
        return plain if self.rarity is None else self._weighted(plain)

    def _weighted(self, counts: Float[Tensor, "rows buckets"]) -> Float[Tensor, "rows buckets"]:
        if self.rarity is None:
            return counts
        return F.normalize(counts * self.rarity.to(counts.device), dim=1)


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
