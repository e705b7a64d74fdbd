"""Emoji by group: an image task of 8 classes, the pictures of the font Noto Color Emoji (OFL) under Unicode's groups.

Debian has the font in fonts-noto-color-emoji and the list of emoji in unicode-data (Unicode licence). Every picture is
one character: no skin tones, genders, families, keycaps or flags, which are near copies of one another.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont

from benchmarks.evidence.packages.splits import digest, split_of
from hf_ctkd.demo.tasks import DemoTask, Pools, assemble_task
from hf_ctkd.records import default_cache

NAME = "emoji-groups"
TASK = "benchmarks.evidence.packages.emoji:emoji_groups"
"""Its name for `build_task`."""
INSTALL = (
    "apt-get install fonts-noto-color-emoji unicode-data, on Debian; or `apt-get download` and `dpkg -x` of both into "
    "the folder debian of the cache"
)
FONT = "usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
LIST = "usr/share/unicode/emoji/emoji-test.txt"
GROUPS = (
    "Smileys & Emotion", "People & Body", "Animals & Nature", "Food & Drink", "Travel & Places", "Activities",
    "Objects", "Symbols",
)  # fmt: skip
"""All but flags, and the components of other emoji."""
SIDE = 136
"""Pixels of a picture's side: the width of the font's bitmaps, which are 128 high."""

_SIZE = 109
"""The one size that the font has."""
_AS_PICTURE = "\N{VARIATION SELECTOR-16}"


def available() -> bool:
    """Whether this machine has the font and the list."""
    return None not in (_file(FONT), _file(LIST))


def emoji_groups(*, labels: int, seed: int) -> DemoTask:
    """The task: six ninths of the pictures for training, one for validation, two for testing.

    Args:
        labels: number of labelled training rows.
        seed: of their draw.

    Raises:
        FileNotFoundError: where there is no font or no list.
    """
    return assemble_task(NAME, "image", _pools(), labels=labels, seed=seed)


@lru_cache(maxsize=1)
def _pools() -> Pools:
    font, listed = _file(FONT), _file(LIST)
    if font is None or listed is None:
        raise FileNotFoundError(f"The task {NAME} needs a font and a list of emoji: {INSTALL}.")
    drawn = ImageFont.truetype(str(font), _SIZE, layout_engine=ImageFont.Layout.BASIC)
    with listed.open(encoding="utf-8") as lines:
        groups = dict(emoji_in(lines))
    splits: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for character in sorted(groups, key=digest):
        splits[split_of(character)].append(character)
    features = Features({"image": Image(), "label": ClassLabel(names=list(GROUPS))})

    def rows(characters: list[str]) -> Dataset:
        images = [picture(character, drawn) for character in characters]
        labels = [GROUPS.index(groups[character]) for character in characters]
        return Dataset.from_dict({"image": images, "label": labels}, features)

    return Pools(**{split: rows(characters) for split, characters in splits.items()})


def emoji_in(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each emoji of one character with its group.

    Args:
        lines: of Unicode's emoji-test.txt: a group's name, then its emoji as code points and status.
    """
    group = ""
    for line in lines:
        if line.startswith("# group:"):
            group = line.partition(":")[2].strip()
        codes, _, status = line.partition("#")[0].partition(";")
        if group in GROUPS and status.strip() == "fully-qualified":
            characters = "".join(chr(int(code, 16)) for code in codes.split()).removesuffix(_AS_PICTURE)
            if len(characters) == 1:
                yield characters, group


def picture(character: str, font: ImageFont.FreeTypeFont) -> PILImage.Image:
    """A character in its colours on a white square.

    Args:
        character: one of the font's.
        font: with bitmaps in colour.
    """
    canvas = PILImage.new("RGB", (SIDE, SIDE), "white")
    ImageDraw.Draw(canvas).text((SIDE / 2, SIDE / 2), character, "black", font, anchor="mm", embedded_color=True)
    return canvas


def _file(path: str) -> Path | None:
    """A file of a Debian package, installed or unpacked into the cache."""
    found = [root / path for root in (Path("/"), default_cache() / "debian") if (root / path).is_file()]
    return found[0] if found else None
