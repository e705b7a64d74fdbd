import subprocess
import sys

import numpy as np
import pytest

from hf_ctkd.demo.images import (
    CHARSETS,
    STUDENT_FONTS,
    TEACHER_FONTS,
    digits_dataset,
    glyphs_dataset,
    photos_dataset,
)
from hf_ctkd.errors import InvalidArgumentError


def pixels(dataset):
    return np.stack([np.asarray(image) for image in dataset["image"]])


def test_digits_are_all_there_in_rgb_at_their_own_resolution():
    digits = digits_dataset()
    assert len(digits) == 1797
    assert digits.features["label"].names[3] == "three"
    assert digits[0]["image"].mode == "RGB" and digits[0]["image"].size == (8, 8)
    assert pixels(digits.select(range(50))).max() == 255


def test_photographs_are_two_classes_of_patches():
    photos = photos_dataset()
    assert photos.features["label"].names == ["china", "flower"]
    assert set(photos["label"][:]) == {0, 1}


def test_the_same_seed_renders_the_same_glyphs_and_another_seed_others():
    def render(seed):
        return glyphs_dataset("αβ", fonts=STUDENT_FONTS, per_class=4, seed=seed)

    assert np.array_equal(pixels(render(0)), pixels(render(0)))
    assert not np.array_equal(pixels(render(0)), pixels(render(1)))
    assert render(0).features["label"].names == ["greek small letter alpha", "greek small letter beta"]


def test_exact_repetitions_are_dropped_so_no_image_is_in_two_pools():
    rows = glyphs_dataset("−", fonts=TEACHER_FONTS, per_class=200, seed=0)
    assert len(rows) < 200
    assert len({image.tobytes() for image in rows["image"]}) == len(rows)


@pytest.mark.parametrize("charset", CHARSETS)
def test_every_character_is_in_the_teachers_fonts(charset):
    rows = glyphs_dataset(CHARSETS[charset], fonts=TEACHER_FONTS[:1], per_class=1, seed=0)
    assert pixels(rows).max(axis=(1, 2, 3)).min() > 0


def test_teachers_and_students_share_no_font():
    assert not set(TEACHER_FONTS) & set(STUDENT_FONTS)


def test_a_font_without_the_glyph_an_unknown_font_and_no_example_are_refused():
    with pytest.raises(InvalidArgumentError, match="`fonts` have no glyph for 'ა'"):
        glyphs_dataset("ა", fonts=["STIXGeneral.ttf"], per_class=1, seed=0)
    with pytest.raises(InvalidArgumentError, match="`fonts` must name files"):
        glyphs_dataset("a", fonts=["Missing.ttf"], per_class=1, seed=0)
    with pytest.raises(InvalidArgumentError, match="`per_class` must be positive, got 0"):
        glyphs_dataset("a", fonts=STUDENT_FONTS, per_class=0, seed=0)


def test_importing_the_module_loads_no_matplotlib():
    code = "import sys, hf_ctkd.demo.images; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
