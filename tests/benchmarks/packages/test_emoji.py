from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import ImageFont

from benchmarks.evidence.packages import emoji

LINES = """\
# group: Smileys & Emotion
# subgroup: face-smiling
1F600                                                  ; fully-qualified     # \N{GRINNING FACE} E1.0 grinning face
2639 FE0F                                              ; fully-qualified     # frowning face
2639                                                   ; unqualified         # frowning face
1F636 200D 1F32B FE0F                                  ; fully-qualified     # face in clouds
# group: People & Body
1F44B                                                  ; fully-qualified     # waving hand
1F44B 1F3FB                                            ; fully-qualified     # waving hand: light skin tone
# group: Component
1F3FB                                                  ; component           # light skin tone
# group: Symbols
0023 FE0F 20E3                                         ; fully-qualified     # keycap
# group: Flags
1F3C1                                                  ; fully-qualified     # chequered flag
"""


def test_emoji_of_one_character_are_read_with_their_group():
    assert dict(emoji.emoji_in(LINES.splitlines())) == {
        "\N{GRINNING FACE}": "Smileys & Emotion",
        "\N{WHITE FROWNING FACE}": "Smileys & Emotion",
        "\N{WAVING HAND SIGN}": "People & Body",
    }


def test_a_picture_is_a_character_in_the_middle_of_a_white_square():
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), 60)
    pixels = np.asarray(emoji.picture("O", font))
    assert pixels.shape == (emoji.SIDE, emoji.SIDE, 3) and (pixels[0] == 255).all() and (pixels < 128).any()
    columns = np.flatnonzero((pixels < 255).any(axis=(0, 2)))
    assert abs(columns.min() + columns.max() - emoji.SIDE) <= 3


def test_without_font_and_list_the_way_to_get_them_is_said(monkeypatch):
    monkeypatch.setattr(emoji, "_file", lambda path: None)
    emoji._pools.cache_clear()
    assert not emoji.available()
    with pytest.raises(FileNotFoundError, match="apt-get install fonts-noto-color-emoji unicode-data"):
        emoji.emoji_groups(labels=80, seed=0)


@pytest.mark.skipif(not emoji.available(), reason=emoji.INSTALL)
def test_pictures_are_different_and_no_emoji_is_in_two_splits():
    task = emoji.emoji_groups(labels=80, seed=0)
    splits = [task.train(), task.validation, task.test]
    pictures = [row["image"].tobytes() for split in splits for row in split]
    assert len(pictures) == len(set(pictures)) > 1300 and task.label_names == emoji.GROUPS
    assert len(task.labelled) == 80 and len(task.unlabelled) > 800 and set(task.test["label"]) == set(range(8))
