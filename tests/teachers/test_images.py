import io

import pytest
import xxhash
from datasets import Image
from PIL import Image as PILImage
from tiny_models import image_rows, png

from hf_ctkd.errors import DatasetError
from hf_ctkd.teachers.images import ImageColumn


def red_and_blue() -> list[bytes]:
    streams = [io.BytesIO(), io.BytesIO()]
    for stream, colour in zip(streams, ("red", "blue"), strict=True):
        PILImage.new("RGB", (8, 8), colour).save(stream, "PNG")
    return [stream.getvalue() for stream in streams]


def test_an_image_has_the_mode_that_is_asked_for():
    dataset = image_rows(red_and_blue(), [0, 1])
    assert ImageColumn(dataset, "image").read(0, "Row 0").mode == "RGB"
    grey = ImageColumn(dataset.cast_column("image", Image(mode="L")), "image").read(0, "Row 0")
    assert grey.mode == "L"


def test_the_mode_that_is_asked_for_is_part_of_the_digest():
    dataset = image_rows([*red_and_blue(), None], [0, 1, 0])
    plain = ImageColumn(dataset, "image").digests()
    # Caches on disk hold these.
    assert plain == [*(xxhash.xxh3_128_hexdigest(content) for content in red_and_blue()), None]
    modes = [ImageColumn(dataset.cast_column("image", Image(mode=mode)), "image").digests() for mode in ("L", "RGB")]
    assert len({digest for digests in (plain, *modes) for digest in digests if digest is not None}) == 6
    assert [digests[2] for digests in modes] == [None, None]


def test_an_image_that_cannot_be_decoded_is_named():
    column = ImageColumn(image_rows([png(0), png(1)[:40], None], [0, 1, 0]), "image")
    for row in (1, 2):
        with pytest.raises(DatasetError, match=f"Row {row} of `image` holds no image that can be decoded"):
            column.read(row, f"Row {row} of `image`")
