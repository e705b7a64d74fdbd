"""A row's own input as plain features, without any model: what the target classes can be read out of for nothing."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.data.preprocessing import Preprocessor
from hf_ctkd.data.rows import TargetRows
from hf_ctkd.errors import InvalidArgumentError

SIDE = 16
"""Images are averaged down to at most so many pixels a side: more of them are noise to a linear probe."""
BUCKETS = 2048
"""Tokens of a larger vocabulary share this many counts."""


class InputFeatureReader:
    """Reads pixels, or counts of tokens weighted by how rare each is, from a model's own preprocessed rows.

    Use it for what needs no teacher to be known: a probe of these features is a strong control, and a floor for what
    is read out of a teacher.

    Args:
        rarity: `[buckets]`, log of the rows over the rows with such a token; None for images.

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
        cls, view: Preprocessor, rows: TargetRows, *, batch_size: int = 256
    ) -> tuple["InputFeatureReader", Float[Tensor, "rows width"]]:
        """A reader that knows how rare each token is among some rows, and what it reads of them, in their order.

        Args:
            view: the preprocessing of the model whose inputs are read.
            rows: raw rows.
            batch_size: rows preprocessed at once.

        Raises:
            InvalidArgumentError: if the model's inputs are neither pixels nor tokens.
            DatasetError: a row that cannot be read.
        """
        starts = range(0, len(rows), batch_size)
        parts = [_plain(view(rows.inputs(range(start, min(start + batch_size, len(rows)))))) for start in starts]
        if rows.modality == "image":
            return cls(), torch.cat(parts)
        counts = torch.cat(parts)
        # A token that every row has, such as the one that begins each, says nothing and weighs nothing.
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
            f"The student's inputs must hold `input_ids` or `pixel_values` [batch, channels, height, width] to be read "
            f"as they are, got {', '.join(batch)}. Choose a loss that reads teachers alone, such as "
            "RowTransportLoss(input_features=False)."
        )
    height, width = pixels.shape[-2:]
    if max(height, width) > SIDE:
        pixels = F.adaptive_avg_pool2d(pixels.float(), (min(SIDE, height), min(SIDE, width)))
    return pixels.flatten(1).float()


def _counts(
    input_ids: Int[Tensor, "rows length"], mask: Int[Tensor, "rows length"] | None
) -> Float[Tensor, "rows buckets"]:
    seen = torch.ones_like(input_ids, dtype=torch.float32) if mask is None else mask.float()
    return torch.zeros(len(input_ids), BUCKETS, device=input_ids.device).scatter_add_(1, input_ids % BUCKETS, seen)
