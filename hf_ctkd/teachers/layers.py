"""Layers of all depths, each pooled to one vector a row: what a model computes besides the input of its head."""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from hf_ctkd.types import Hidden

MOST_LAYERS = 4
"""Layers read of a deep model, evenly spaced: neighbours are nearly alike, and each is stored for every row."""

_SIDE = 2


def depths(count: int, *, most: int = MOST_LAYERS) -> tuple[int, ...]:
    """Indices of the hidden states to read: all of a shallow model, evenly spaced ones up to the last of a deep one.

    Args:
        count: hidden states that the model returns, the first one being its embedding.
        most: largest number of layers, at least 1.

    Example:
        >>> depths(3), depths(13)
        ((0, 1, 2), (3, 6, 9, 12))
    """
    if count <= most:
        return tuple(range(count))
    return tuple((count - 1) * step // most for step in range(1, most + 1))


def pool_layers(layers: Sequence[Hidden]) -> tuple[Float[Tensor, "batch pooled"], ...]:
    """One vector a row of each layer: the means of the four quarters of an image's grid, or the mean over a text.

    A single mean over the grid would lose positions, which the target task may need though the teacher's task did not.

    Args:
        layers: hidden layers of one batch.
    """
    return tuple(_pooled(layer) for layer in layers)


def _pooled(layer: Hidden) -> Float[Tensor, "batch pooled"]:
    values = layer.values.float()
    if len(layer.grid) == 2:
        height, width = layer.grid
        maps = values.transpose(1, 2).unflatten(2, (height, width))
        # An odd side gives quarters that share their middle line, a side of one gives no more than one half.
        return F.adaptive_avg_pool2d(maps, (min(_SIDE, height), min(_SIDE, width))).flatten(1)
    if layer.mask is None:
        return values.mean(1)
    weights = layer.mask.unsqueeze(-1).to(values.dtype)
    return (values * weights).sum(1) / weights.sum(1).clamp_min(1.0)
