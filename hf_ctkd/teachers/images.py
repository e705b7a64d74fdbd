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


class ImageColumn:
    """The images of one column of a data set.

    Args:
        dataset: the rows.
        column: whose feature is `datasets.Image`.
    """

    def __init__(self, dataset: Dataset, column: str) -> None:
        self.column = column
        self.mode: str | None = dataset.features[column].mode
        # The column alone: reading a row decodes nothing else.
        self._rows = dataset.select_columns(column)

    def read(self, row: int, place: str) -> PILImage.Image:
        """One image.

        Args:
            row: its number.
            place: row and column, for messages.

        Raises:
            DatasetError: if it cannot be decoded.
        """
        try:
            image = self._rows[row][self.column]
            if image is not None:
                image.load()
        except UNDECODABLE:
            image = None
        if image is None:
            raise DatasetError(
                f"{place} holds no image that can be decoded. "
                "Mend it, or pass `skip_bad_rows=True` to leave such rows out."
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
