"""A column of images: decoded in the mode of its feature, identified by digests of the stored files."""

import struct
from functools import cached_property
from pathlib import Path

import xxhash
from datasets import Dataset, Image
from PIL import Image as PILImage

from hf_ctkd.data.progress import row_bar
from hf_ctkd.errors import DatasetError

# Errors of Pillow and its plugins on files that are truncated, malformed, or a decompression bomb.
UNDECODABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    OverflowError,
    struct.error,
    PILImage.DecompressionBombError,
)


# Pillow clips their values at 255: most values of 16 bits become white, and values between 0 and 1 become black.
_MORE_THAN_8_BITS = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N", "F"})


class ImageColumn:
    """The images of one column of a data set.

    Args:
        dataset: the rows.
        column: whose feature is `datasets.Image`.
    """

    def __init__(self, dataset: Dataset, column: str) -> None:
        self.column = column
        self.mode: str | None = dataset.features[column].mode
        # This column alone, so that nothing else is decoded, and without a mode: datasets would convert 16-bit images
        # before their mode can be checked.
        self._rows = dataset.select_columns(column).cast_column(column, Image())

    def read(self, row: int, location: str) -> PILImage.Image:
        """One image.

        Args:
            row: its index.
            location: row and column, for messages.

        Raises:
            DatasetError: if it cannot be decoded, or has more than 8 bits a channel.
        """
        try:
            image = self._rows[row][self.column]
            stored = None if image is None else image.mode
            if self.mode is not None and stored not in {None, self.mode}:
                image = image.convert(self.mode)
        except UNDECODABLE:
            image = None
        if image is None:
            raise DatasetError(
                f"{self._with_file(location, row)} holds no image that can be decoded. "
                "Repair it, or pass `skip_bad_rows=True` to leave such rows out, except of predictions."
            )
        for mode in (stored, self.mode):
            if holds_more_than_8_bits(mode):
                raise DatasetError(
                    f"{self._with_file(location, row)} has mode {mode!r}, but models take images of 8 bits a channel. "
                    "Scale it to 8 bits first, or pass `skip_bad_rows=True` to leave such rows out, except of "
                    "predictions."
                )
        return image

    def file(self, row: int) -> str | None:
        """Where an image was read from, as the data set has it; None where it does not say.

        Args:
            row: its index.
        """
        stored = self._stored[row][self.column]
        return None if stored is None else stored["path"]

    @cached_property
    def _stored(self) -> Dataset:
        """The column with its files as they are, not decoded."""
        return self._rows.cast_column(self.column, Image(decode=False))

    def _with_file(self, location: str, row: int) -> str:
        file = self.file(row)
        return location if file is None else f"{location} ({file})"

    def digests(self) -> list[str | None]:
        """One digest a row, of the stored file and the mode of the feature; None where there is no image."""
        digests = []
        with row_bar(len(self._stored), "reading images") as bar:
            for row in self._stored:
                image = row[self.column]
                digests.append(None if image is None else self._digest(image))
                bar.update()
        return digests

    def _digest(self, stored: dict[str, bytes | str | None]) -> str:
        content, path = stored["bytes"], str(stored["path"])
        if not isinstance(content, bytes):
            try:
                content = Path(path).read_bytes()
            except OSError:  # a missing file is reported, with its row, when the row is read
                content = path.encode()
        digest = xxhash.xxh3_128_hexdigest(content)
        # Without a mode the digest is that of the content alone.
        return digest if self.mode is None else xxhash.xxh3_128_hexdigest(f"{digest} as {self.mode}".encode())


def holds_more_than_8_bits(mode: str | None) -> bool:
    """Whether Pillow loses the content of images of a mode when it converts them to 8 bits.

    Args:
        mode: Pillow's name of the mode; None for no particular one.
    """
    return mode in _MORE_THAN_8_BITS
