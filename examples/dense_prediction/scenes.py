"""Scenes of handwritten digits on photographs, with the class and the depth of every pixel."""

import numpy as np
from datasets import Array2D, Dataset, Features, Image
from PIL import Image as PILImage
from sklearn.datasets import load_sample_images

SIDE = 64
GROUND = 4.0
"""Distance of the photograph in invented metres; the digits are nearer."""

LARGEST = 40.0
"""Height of a digit at one metre, in pixels."""

_INK = 80


def scenes(digits: Dataset, count: int, *, labelled: int, seed: int) -> Dataset:
    """Scenes with two to four digits each: `image`, `mask` (0 for the background, 1 + class) and `depth` in metres.

    A digit's size is inversely proportional to its distance, and nearer digits cover farther ones. Rows from `labelled`
    on have neither a mask nor a depth.
    """
    generator = np.random.default_rng(seed)
    photos = [np.asarray(PILImage.fromarray(photo).convert("L").reduce(2)) for photo in load_sample_images().images]
    glyphs, classes = [image.convert("L") for image in digits["image"]], digits["label"][:]
    columns: dict[str, list] = {"image": [], "mask": [], "depth": []}
    for row in range(count):
        canvas = _ground(photos[int(generator.integers(len(photos)))], generator)
        mask, depth = np.zeros((SIDE, SIDE), np.uint8), np.full((SIDE, SIDE), GROUND, np.float32)
        for metres in sorted(generator.uniform(1.0, 2.4, int(generator.integers(2, 5))), reverse=True):
            digit = int(generator.integers(len(glyphs)))
            side = round(LARGEST / metres)
            ink = np.asarray(glyphs[digit].resize((side, side), PILImage.Resampling.BICUBIC), np.float32)
            top, left = generator.integers(0, SIDE - side + 1, 2)
            window = np.s_[top : top + side, left : left + side]
            canvas[window] = np.maximum(canvas[window], ink)
            mask[window][ink > _INK], depth[window][ink > _INK] = 1 + classes[digit], metres
        columns["image"].append(PILImage.fromarray(np.repeat(canvas[..., None], 3, -1).astype(np.uint8)))
        columns["mask"].append(PILImage.fromarray(mask) if row < labelled else None)
        columns["depth"].append(depth if row < labelled else None)
    features = Features({"image": Image(), "mask": Image(), "depth": Array2D((SIDE, SIDE), "float32")})
    return Dataset.from_dict(columns, features=features)


def _ground(photo: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A darkened crop of a photograph."""
    top, left = (int(generator.integers(0, length - SIDE + 1)) for length in photo.shape)
    return photo[top : top + SIDE, left : left + SIDE].astype(np.float32) * 0.4
