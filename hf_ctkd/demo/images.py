"""Image data without a download: handwritten digits, glyphs of bundled fonts, patches of two photographs.

All images are 8x8, the resolution of scikit-learn's digits, so that teachers and students can share inputs.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, Image
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont

from hf_ctkd.errors import InvalidArgumentError, MissingExtraError

SIDE = 8
"""Height and width of every image in pixels, as in scikit-learn's handwritten digits."""

DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

TEACHER_FONTS = tuple(
    f"{family}{style}.ttf"
    for family in ("DejaVuSans", "DejaVuSansMono")
    for style in ("", "-Bold", "-Oblique", "-BoldOblique")
)
"""Fonts of the teachers; no glyph task uses any of them."""

STUDENT_FONTS = (
    *(f"DejaVuSerif{style}.ttf" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}.ttf" for style in ("", "Bol", "Italic", "BolIta")),
)
"""Fonts of the glyph tasks; all have Latin, Greek and Cyrillic."""

_CANVAS = 32
_FONT_SIZE = 48


def _letters(first: str, last: str, without: str = "") -> str:
    return "".join(chr(code) for code in range(ord(first), ord(last) + 1) if chr(code) not in without)


CHARSETS = {
    "digits": _letters("0", "9"),
    "latin-capitals": _letters("A", "Z"),
    "latin-lowercase": _letters("a", "z"),
    "greek": _letters("α", "ω", without="ς"),
    "cyrillic": _letters("а", "я"),
    "armenian": _letters("ա", "ֆ"),
    "georgian": _letters("ა", "ჰ"),
    "arrows": "←↑→↓↔↕↖↗↘↙⇐⇑⇒⇓",
    "mathematics": "+−×÷=≠≤≥∈∂∇∑∏∫√∞",
    "shapes": "■□▲△▶▷▼▽◀◁◆◇○●",
}
"""Characters of each glyph source; each character is a class."""


@dataclass(frozen=True)
class Jitter:
    """Random variation of rendered glyphs.

    Args:
        rotation: maximum rotation in either direction, in degrees.
        shift: maximum shift along each axis, in pixels of the 32x32 canvas.
        smallest: minimum size as a share of the canvas, in (0, 1].
    """

    rotation: float = 12.0
    shift: int = 2
    smallest: float = 0.8


def images_dataset(pixels: np.ndarray, labels: Sequence[int], names: Sequence[str]) -> Dataset:
    """A data set of RGB images with a `ClassLabel` column, because most image processors expect three channels.

    Args:
        pixels: grey values of 0 to 255, `[rows, height, width]`.
        labels: class of each row.
        names: one name per class.
    """
    images = [PILImage.fromarray(np.repeat(row[..., None], 3, axis=-1)) for row in pixels.astype(np.uint8)]
    dataset = Dataset.from_dict({"image": images}).cast_column("image", Image())
    return dataset.add_column("label", [int(label) for label in labels], feature=ClassLabel(names=list(names)))


def digits_dataset() -> Dataset:
    """The 1,797 handwritten digits of scikit-learn, in its order, as `image` and `label`.

    Use `tasks.digit_pools` instead where teachers and students must not share rows.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    return images_dataset(np.rint(digits.images * (255 / 16)), digits.target.tolist(), DIGIT_NAMES)


def photos_dataset() -> Dataset:
    """Grey 8x8 patches of scikit-learn's two sample photographs, labelled by photograph; unrelated to handwriting."""
    from sklearn.datasets import load_sample_images

    photos = load_sample_images()
    patches, labels = [], []
    for label, photo in enumerate(photos.images):
        grey = PILImage.fromarray(photo).convert("L")
        small = np.asarray(grey.resize((grey.width // 4, grey.height // 4), PILImage.Resampling.BOX))
        for top in range(0, small.shape[0] - SIDE + 1, SIDE // 2):
            for left in range(0, small.shape[1] - SIDE + 1, SIDE // 2):
                patches.append(small[top : top + SIDE, left : left + SIDE])
                labels.append(label)
    return images_dataset(np.stack(patches), labels, [Path(name).stem for name in photos.filenames])


def glyphs_dataset(
    characters: str, *, fonts: Sequence[str], per_class: int, seed: int, jitter: Jitter | None = None
) -> Dataset:
    """Characters rendered in matplotlib's bundled fonts with random jitter, as `image` and `label`.

    Use it for tasks and teachers that are more or less related to handwriting; it does not suit tasks that depend on
    the exact shape of a glyph, because 8x8 pixels show little of it. Labels are Unicode names ("greek small letter
    alpha"). Exact repetitions are dropped, so a class may have fewer rows than `per_class`.

    Args:
        characters: the characters; each is a class.
        fonts: file names of matplotlib's bundled fonts; a character is rendered only in fonts that have it.
        per_class: examples of each character, spread evenly over the fonts.
        seed: of the jitter.
        jitter: range of the jitter; `Jitter()` if not given.

    Raises:
        InvalidArgumentError: if no font has a character, or `per_class` is not positive.
        MissingExtraError: if matplotlib is not installed.
    """
    if per_class < 1:
        raise InvalidArgumentError(f"`per_class` must be positive, got {per_class}.")
    generator = np.random.default_rng(seed)
    jitter = jitter or Jitter()
    available = _open_fonts(fonts)
    pixels, labels, seen = [], [], set()
    for label, character in enumerate(characters):
        usable_fonts = [font for font, charmap in available if ord(character) in charmap]
        if not usable_fonts:
            raise InvalidArgumentError(f"`fonts` have no glyph for {character!r}. Add a font that has one.")
        for example in range(per_class):
            image = _render(character, usable_fonts[example % len(usable_fonts)], jitter, generator)
            if image.tobytes() not in seen:
                seen.add(image.tobytes())
                pixels.append(image)
                labels.append(label)
    names = [unicodedata.name(character).lower() for character in characters]
    return images_dataset(np.stack(pixels), labels, names)


def _open_fonts(names: Sequence[str]) -> list[tuple[ImageFont.FreeTypeFont, frozenset[int]]]:
    try:
        import matplotlib
        from matplotlib.ft2font import FT2Font
    except ImportError as error:
        raise MissingExtraError(
            "Glyphs are rendered from matplotlib's fonts, but matplotlib is not installed. "
            "Install it with `pip install hf_ctkd[demo]`."
        ) from error
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    unknown = sorted(name for name in names if not (folder / name).is_file())
    if unknown or not names:
        raise InvalidArgumentError(
            f"`fonts` must name files of matplotlib's font folder, got {unknown or 'none'}. Look into {folder}."
        )
    return [
        (ImageFont.truetype(str(folder / name), _FONT_SIZE), frozenset(FT2Font(str(folder / name)).get_charmap()))
        for name in names
    ]


def _render(character: str, font: ImageFont.FreeTypeFont, jitter: Jitter, generator: np.random.Generator) -> np.ndarray:
    sheet = PILImage.new("L", (3 * _FONT_SIZE, 3 * _FONT_SIZE))
    ImageDraw.Draw(sheet).text((_FONT_SIZE, _FONT_SIZE // 2), character, fill=255, font=font)
    sheet = sheet.rotate(generator.uniform(-jitter.rotation, jitter.rotation), PILImage.Resampling.BILINEAR)
    glyph = sheet.crop(sheet.getbbox())
    scale = generator.uniform(jitter.smallest, 1.0) * _CANVAS / max(glyph.size)
    width, height = (max(2, round(side * scale)) for side in glyph.size)
    canvas = PILImage.new("L", (_CANVAS, _CANVAS))
    right, down = generator.integers(-jitter.shift, jitter.shift + 1, size=2)
    corner = ((_CANVAS - width) // 2 + int(right), (_CANVAS - height) // 2 + int(down))
    canvas.paste(glyph.resize((width, height), PILImage.Resampling.BILINEAR), corner)
    # As in the handwritten digits: a binary image, counted in 4x4 blocks, which gives 17 grey levels.
    ink = (np.asarray(canvas) > 127).reshape(SIDE, _CANVAS // SIDE, SIDE, _CANVAS // SIDE).sum(axis=(1, 3))
    return np.rint(ink * (255 / 16)).astype(np.uint8)
