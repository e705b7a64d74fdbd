"""The vectors of an index's names, and the graph among them, on disk for the next process which opens it."""

import hashlib
import io
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xxhash
from jaxtyping import Float
from numpy import ndarray

from hf_ctkd._version import __version__
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.index.encoders import NameEncoder, unit_vectors
from hf_ctkd.index.neighbours import (
    ApproximateNeighbours,
    ExactNeighbours,
    Neighbours,
    graph_settings,
    uses_graph,
)
from hf_ctkd.records import write_bytes

logger = logging.getLogger(__name__)

_FOLDER = "vectors"
"""Beside the folder of the Parquet parts; it is never pushed, and may be deleted."""
_CHECKSUM_BYTES = 16


class VectorCache:
    """One file for each encoder, replaced when names, encoder or version change, and one with the graph among them.

    A folder that cannot be written costs a line in the log.

    Args:
        folder: of the index.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder) / _FOLDER

    def unit_vectors(self, encoder: NameEncoder, names: Sequence[str]) -> Float[ndarray, "names width"]:
        """The vectors of `hf_ctkd.index.encoders.unit_vectors`, from the disk where they are there.

        They are read as they are needed (memory-mapped).

        Args:
            encoder: any; its `name` tells its vectors from those of another.
            names: of the index, in its order.

        Raises:
            InvalidArgumentError: if the encoder does not give one finite vector a name.
        """
        path = self._path(encoder, _digest(json.dumps(list(names)).encode()), ".npy")
        cached = _read_vectors(path, len(names))
        if cached is not None:
            return cached
        vectors = unit_vectors(encoder, list(names))
        content = io.BytesIO()
        np.save(content, vectors, allow_pickle=False)
        self._replace(path, content.getvalue(), f"vectors of {len(names)} names")
        return vectors

    def neighbours(self, encoder: NameEncoder, vectors: Float[ndarray, "names width"]) -> Neighbours:
        """The search of `hf_ctkd.index.neighbours.neighbours_among`, its graph from the disk where it is there.

        Args:
            encoder: that the vectors are of.
            vectors: unit vectors; a graph belongs to exactly these.
        """
        if not uses_graph(len(vectors)):
            return ExactNeighbours(vectors)
        # xxhash, as this is read whole at every opening: 150 MB take 10 ms.
        digest = xxhash.xxh3_128_hexdigest(np.ascontiguousarray(vectors).data)
        path = self._path(encoder, _digest(f"{digest} {vectors.shape} {graph_settings()}".encode()), ".links")
        links = _read_links(path)
        if links is not None:
            return ApproximateNeighbours(vectors, links)
        neighbours = ApproximateNeighbours(vectors)
        links = neighbours.links()
        self._replace(path, xxhash.xxh3_128_digest(links) + links, f"links among {len(vectors)} names")
        return neighbours

    def _path(self, encoder: NameEncoder, key: str, suffix: str) -> Path:
        of_encoder = _digest(f"{encoder.name}\n{__version__}".encode())[:16]
        return self.folder / f"{of_encoder}-{key}{suffix}"

    def _replace(self, path: Path, content: bytes, what: str) -> None:
        """Write a file in place of the encoder's stale one."""
        try:
            write_bytes(path, content)
        except InvalidArgumentError as error:
            logger.warning("The %s are not cached, so the next search waits too: %s", what, error)
            return
        of_encoder = path.name.partition("-")[0]
        for stale in self.folder.glob(f"{of_encoder}-*{path.suffix}"):
            if stale != path:
                stale.unlink(missing_ok=True)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _read_vectors(path: Path, count: int) -> Float[ndarray, "names width"] | None:
    """None where there is no file, or a damaged one."""
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if vectors.dtype != np.float32 or vectors.ndim != 2 or len(vectors) != count:
        return None
    return np.asarray(vectors)


def _read_links(path: Path) -> bytes | None:
    """None where there is no file, or a damaged one: faiss follows a broken link out of its memory."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    links = content[_CHECKSUM_BYTES:]
    return links if xxhash.xxh3_128_digest(links) == content[:_CHECKSUM_BYTES] else None
