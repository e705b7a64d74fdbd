"""Labels that are images: brought onto the pixels of a model's own view, whatever its processor does to an image."""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Int
from PIL import Image as PILImage
from torch import Tensor

from hf_ctkd.data import Preprocessor
from hf_ctkd.errors import InvalidArgumentError

OUTSIDE = -1
"""Stands for a pixel of the view that comes from no pixel of the image, such as padding."""

_BYTES = 4


@lru_cache(maxsize=64)
def source_pixels(view: Preprocessor, height: int, width: int) -> Int[Tensor, "rows columns"]:
    """From which pixel of an image each pixel of a model's view comes: its place row by row, or `OUTSIDE`.

    The processor itself is asked: it is shown an image that holds the number of every pixel, a byte at a time, and told
    to take nearest neighbours and to leave values alone. So resizing, cropping and padding of any processor are
    followed, and a label need not know about them. One that flips or crops by chance cannot be followed: leave that to
    an augmentation.

    Args:
        view: the model's preprocessing.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Raises:
        InvalidArgumentError: if the processor changes values nevertheless.
    """
    # Counted from 1, as padding is 0.
    numbers = np.arange(1, height * width + 1, dtype=np.uint32).reshape(height, width)
    planes = [_grey(((numbers >> (8 * byte)) & 255).astype(np.uint8), view.channels) for byte in range(_BYTES)]
    processed = view.processing_class(
        images=planes,
        resample=PILImage.Resampling.NEAREST,
        do_rescale=False,
        do_normalize=False,
        return_tensors="pt",
    )
    seen = processed["pixel_values"][:, 0].double().round().long()
    source = sum((plane << (8 * byte) for byte, plane in enumerate(seen)), torch.zeros_like(seen[0])) - 1
    if seen.min() < 0 or seen.max() > 255 or source.max() >= height * width:
        raise InvalidArgumentError(
            f"`processing_class` {type(view.processing_class).__name__} changes values even without rescaling and "
            "normalising, so labels cannot be brought onto its view. Use an image processor of transformers."
        )
    return source.int()


def onto_view(label: np.ndarray, source: Int[Tensor, "rows columns"], fill: float) -> Tensor:
    """A label over the pixels of a view.

    Args:
        label: `[height, width]`.
        source: as `source_pixels` gives it for this height and width.
        fill: the label of pixels from outside.
    """
    values = torch.from_numpy(np.ascontiguousarray(label)).flatten()[source.clamp_min(0).long()]
    return torch.where(source == OUTSIDE, torch.full_like(values, fill), values)


def _grey(values: np.ndarray, channels: int) -> PILImage.Image:
    return PILImage.fromarray(values if channels == 1 else np.repeat(values[..., None], 3, axis=-1))
