"""The vectors of an index's names on disk, so that the next process which opens it encodes nothing."""

import hashlib
import io
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from hf_ctkd._version import __version__
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.index.encoders import NameEncoder, unit_vectors
from hf_ctkd.records import write_bytes

logger = logging.getLogger(__name__)

_FOLDER = "vectors"
"""Beside the folder of the Parquet parts; it is never pushed, and may be deleted."""


class VectorCache:
    """One file for each encoder, replaced when names, encoder or version change.

    Args:
        folder: of the index.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder) / _FOLDER

    def unit_vectors(self, encoder: NameEncoder, names: Sequence[str]) -> Float[ndarray, "names width"]:
        """The vectors of `hf_ctkd.index.encoders.unit_vectors`, from the disk where they are there.

        They are read as they are needed (memory-mapped). A folder that cannot be written costs a line in the log.

        Args:
            encoder: any; its `name` tells its vectors from those of another.
            names: of the index, in its order.

        Raises:
            InvalidArgumentError: if the encoder does not give one finite vector a name.
        """
        of_encoder = hashlib.sha256(f"{encoder.name}\n{__version__}".encode()).hexdigest()[:16]
        path = self.folder / f"{of_encoder}-{_digest(names)}.npy"
        cached = _read(path, len(names))
        if cached is not None:
            return cached
        vectors = unit_vectors(encoder, list(names))
        content = io.BytesIO()
        np.save(content, vectors, allow_pickle=False)
        try:
            write_bytes(path, content.getvalue())
        except InvalidArgumentError as error:
            logger.warning(
                "The vectors of %d names are not cached, so the next search waits too: %s", len(names), error
            )
            return vectors
        for stale in self.folder.glob(f"{of_encoder}-*.npy"):
            if stale != path:
                stale.unlink(missing_ok=True)
        return vectors


def _digest(names: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(names)).encode()).hexdigest()[:32]


def _read(path: Path, count: int) -> Float[ndarray, "names width"] | None:
    """None where there is no file, or a damaged one."""
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if vectors.dtype != np.float32 or vectors.ndim != 2 or len(vectors) != count:
        return None
    return np.asarray(vectors)
