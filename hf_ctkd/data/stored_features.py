"""Features of all rows of a data set: in memory, or in a temporary file where they would take too much of it."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedRandom
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.types import ModelOutputs, RowOutputs

MEMORY_LIMIT = 2**28
"""Bytes of features from which on they are kept in a file: 256 MiB, which are 32,000 texts."""


@dataclass(frozen=True, eq=False)
class StoredFeatures(RowOutputs):
    """Features of all rows in a temporary file, read in parts.

    The file has no name, so that the system removes it with this object. It is read and not mapped: scattered rows of a
    map would bring the pages around them into this process's memory, the whole file in the end.

    Args:
        file: the features one row after the other, in float32.
        rows: number of rows.
        width: of a row.
    """

    file: BufferedRandom
    rows: int
    width: int

    def __del__(self) -> None:
        """Close the file, which removes it."""
        self.file.close()

    def __len__(self) -> int:
        """Number of rows."""
        return self.rows

    def select(self, rows: Tensor) -> ModelOutputs:
        """The features of some rows, by index or mask, on the CPU."""
        numbers = torch.arange(self.rows)[rows.cpu()].tolist()
        features = np.empty((len(numbers), self.width), np.float32)
        for row, number in zip(features, numbers, strict=True):
            self.file.seek(number * row.nbytes)
            self.file.readinto(row.data)
        return ModelOutputs(torch.from_numpy(features))


@dataclass(frozen=True, eq=False)
class LayeredRows(RowOutputs):
    """Pooled layers and features of all rows, which are stored side by side.

    Args:
        stored: of each row its layers one after the other, then its features.
        widths: of each of these.
    """

    stored: RowOutputs
    widths: tuple[int, ...]

    @classmethod
    def store(
        cls, parts: Iterable[ModelOutputs], rows: int, folder: Path | None, *, limit: int = MEMORY_LIMIT
    ) -> "LayeredRows":
        """Store outputs of all rows, each part of them before the next one is made; see `store_features`."""
        parts = iter(parts)
        first = next(parts)
        joined = (torch.cat([*part.layers, part.features], dim=1) for part in chain([first], parts))
        widths = tuple(view.shape[1] for view in (*first.layers, first.features))
        return cls(store_features(joined, rows, folder, limit=limit), widths)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.stored)

    def select(self, rows: Tensor) -> ModelOutputs:
        """Layers and features of some rows, by index or mask, on the CPU."""
        *layers, features = self.stored.select(rows).features.split(self.widths, dim=1)
        return ModelOutputs(features, layers=tuple(layers))


def store_features(
    parts: Iterable[Float[Tensor, "_ width"]], rows: int, folder: Path | None, *, limit: int = MEMORY_LIMIT
) -> RowOutputs:
    """The features of all rows, each part of them stored before the next one is made.

    Args:
        parts: the features of some rows after the other, in order, at least one part.
        rows: number of rows of all parts.
        folder: of the temporary file; made if it is not there. None to keep everything in memory.
        limit: largest number of bytes that stay in memory.

    Raises:
        InvalidArgumentError: if they cannot be written.
    """
    parts = iter(parts)
    first = next(parts)
    width = first.shape[1]
    if folder is None or rows * width * torch.float32.itemsize <= limit:
        features, start = torch.empty(rows, width), 0
        for part in chain([first], parts):
            features[start : start + len(part)] = part
            start += len(part)
        return ModelOutputs(features)
    with _disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        stored = StoredFeatures(tempfile.TemporaryFile(dir=folder), rows, width)  # noqa: SIM115 (closes it)
    for part in chain([first], parts):
        with _disk_errors(folder):
            stored.file.write(part.float().contiguous().numpy().data)
            stored.file.flush()
    return stored


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidArgumentError(
            f"Cannot write the features of all rows to {folder}: {error}. Free some space, or choose another "
            "`cache_dir`."
        ) from error
