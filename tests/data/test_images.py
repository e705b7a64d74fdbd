import io
import re

import numpy as np
import pytest
import xxhash
from datasets import Dataset, Image, concatenate_datasets
from PIL import Image as PILImage
from tiny_models import image_rows, png

from hf_ctkd.data import TargetRows
from hf_ctkd.data.images import ImageColumn
from hf_ctkd.errors import DatasetError


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


def test_the_file_of_an_image_is_named_where_it_is_known(tmp_path):
    path = tmp_path / "cut.png"
    path.write_bytes(png(1)[:40])
    inside = image_rows([png(0)], [0])
    rows = concatenate_datasets(
        [inside, Dataset.from_dict({"image": [str(path)], "label": [0]}, features=inside.features)]
    )
    column = ImageColumn(rows, "image")
    assert (column.file(0), column.file(1)) == (None, str(path))
    with pytest.raises(DatasetError, match=re.escape(f"Row 1 ({path}) holds no image that can be decoded")):
        column.read(1, "Row 1")


def sixteen_bits(mode: str) -> bytes:
    values = np.arange(64).reshape(8, 8)
    pixels = {"I;16": (1000 * values).astype(np.uint16), "I": 1000 * values.astype(np.int32), "F": values / 64}[mode]
    stream = io.BytesIO()
    PILImage.fromarray(pixels.astype(np.float32) if mode == "F" else pixels).save(stream, "TIFF")
    return stream.getvalue()


@pytest.mark.parametrize("asked", [None, "L", "RGB"])
@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_an_image_of_more_than_8_bits_is_refused_before_it_is_cut_off(mode, asked, tmp_path):
    path = tmp_path / "deep.tiff"
    path.write_bytes(sixteen_bits(mode))
    dataset = image_rows([png(0), sixteen_bits(mode)], [0, 1])
    dataset = concatenate_datasets([dataset, Dataset.from_dict({"image": [str(path)], "label": [0]}, dataset.features)])
    rows = TargetRows.of(dataset.cast_column("image", Image(mode=asked)), evaluation=True)
    assert len(rows.inputs([0])) == 1
    for row in (1, 2):
        message = f"Row {row} of `image`.* has mode {mode!r}.*Scale it to 8 bits first, or pass `skip_bad_rows=True`"
        with pytest.raises(DatasetError, match=message):
            rows.inputs([row])
    assert TargetRows.of(dataset, skip_bad_rows=True, evaluation=True).origin.tolist() == [0]


def test_a_column_that_asks_for_more_than_8_bits_is_refused_too():
    column = ImageColumn(image_rows([png(0)], [0]).cast_column("image", Image(mode="F")), "image")
    with pytest.raises(DatasetError, match="Row 0 has mode 'F', but models take images of 8 bits a channel"):
        column.read(0, "Row 0")
