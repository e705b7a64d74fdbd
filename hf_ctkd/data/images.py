"""A column of images: decoded in the mode that the data set asks for, told apart by digests of what is stored."""

import struct
from pathlib import Path

import xxhash
from datasets import Dataset, Image
from PIL import Image as PILImage

from hf_ctkd.errors import DatasetError

# What Pillow and its plugins raise for files that are cut short, malformed, or a bomb.
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


# Pillow cuts their values off at 255: most of 16 bits becomes white, and values between 0 and 1 become black.
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
        # The column alone: reading a row decodes nothing else. As it is stored: datasets would convert it unseen.
        self._rows = dataset.select_columns(column).cast_column(column, Image())

    def read(self, row: int, place: str) -> PILImage.Image:
        """One image.

        Args:
            row: its number.
            place: row and column, for messages.

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
                f"{place} holds no image that can be decoded. "
                "Mend it, or pass `skip_bad_rows=True` to leave such rows out of anything but predictions."
            )
        for mode in (stored, self.mode):
            if holds_more_than_8_bits(mode):
                raise DatasetError(
                    f"{place} has mode {mode!r}, but models are shown images of 8 bits a channel. Scale it to 8 bits "
                    "first, or pass `skip_bad_rows=True` to leave such rows out of anything but predictions."
                )
        return image

    def digests(self) -> list[str | None]:
        """One digest a row, of what is stored and of the mode that is asked for; None where there is no image."""
        images = (row[self.column] for row in self._rows.cast_column(self.column, Image(decode=False)))
        return [None if image is None else self._digest(image) for image in images]

    def _digest(self, stored: dict[str, bytes | str | None]) -> str:
        content, path = stored["bytes"], str(stored["path"])
        if not isinstance(content, bytes):
            try:
                content = Path(path).read_bytes()
            except OSError:  # a file that is gone is reported, with its row, when the row is read
                content = path.encode()
        digest = xxhash.xxh3_128_hexdigest(content)
        # Without a mode the digest is that of the content alone.
        return digest if self.mode is None else xxhash.xxh3_128_hexdigest(f"{digest} as {self.mode}".encode())


def holds_more_than_8_bits(mode: str | None) -> bool:
    """Whether Pillow would destroy images of a mode on the way to grey or colour.

    Args:
        mode: Pillow's name of it; None for any.
    """
    return mode in _MORE_THAN_8_BITS
