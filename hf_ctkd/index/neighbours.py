"""The names of an index that are similar to given ones: by every cosine, or by approximate nearest neighbours."""

import logging
from importlib.util import find_spec
from typing import Protocol, cast, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

logger = logging.getLogger(__name__)

_MANY_NAMES = 100_000
"""From so many names on a search of all takes longer than the rest of a search of the index.

Of the libraries with an HNSW graph, all with these links and efforts, `faiss` was the fastest: ten of 8,000 names took
1.1 ms at best with recall@64 of 0.987, `hnswlib` 8.0 ms and 0.983, `usearch` 21 ms and 0.982, with 1.7 kB a
name and 18 to 26 s of building on a busy machine. Inverted lists in float16 (`faiss` IVF) took half of the room and 0.2
ms, but found 0.78. A product with all names is exact, and needs neither a library nor a build.
"""
_LINKS, _BUILD_EFFORT = 16, 100
_SEARCH_EFFORT = 128


@runtime_checkable
class Neighbours(Protocol):
    """A search among unit vectors."""

    def similar(self, queries: Float[ndarray, "queries width"], count: int, least: float) -> Int[ndarray, "similar"]:
        """The numbers, in ascending order, of vectors that are among the nearest of any query.

        Args:
            queries: unit vectors.
            count: most for each query.
            least: cosine that must be exceeded.
        """


class ExactNeighbours:
    """Every cosine, by one matrix product.

    Args:
        vectors: unit vectors.
    """

    def __init__(self, vectors: Float[ndarray, "names width"]) -> None:
        # A product of few rows with this layout takes 16 ms of processor time for 37,000 names, with the other one 22.
        self._columns = np.ascontiguousarray(vectors.T)

    def similar(self, queries: Float[ndarray, "queries width"], count: int, least: float) -> Int[ndarray, "similar"]:
        """See `Neighbours`."""
        nearest = []
        for cosines in queries @ self._columns:
            above = np.flatnonzero(cosines > least)  # few: sorting these alone takes a tenth of sorting all
            if len(above) > count:
                above = above[np.argpartition(-cosines[above], count - 1)[:count]]
            nearest.append(above)
        return np.unique(np.concatenate(nearest))


class ApproximateNeighbours:
    """A graph of near neighbours (HNSW) of the package `faiss`, which looks at a few hundred vectors for each query.

    Args:
        vectors: unit vectors.
        links: of the graph over the same vectors, from `links`; None to find them, which takes the time of a build.

    Raises:
        RuntimeError: of faiss, if `links` were not written by it.

    Reference:
        Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using hierarchical navigable
        small world graphs", 2018.
    """

    def __init__(self, vectors: Float[ndarray, "names width"], links: bytes | None = None) -> None:
        import faiss

        if links is None:
            self._graph = faiss.IndexHNSWFlat(vectors.shape[1], _LINKS, faiss.METRIC_INNER_PRODUCT)
            self._graph.hnsw.efConstruction = _BUILD_EFFORT
            self._graph.add(vectors)
        else:
            self._vectors = faiss.IndexFlatIP(vectors.shape[1])  # the graph does not own them
            self._vectors.add(vectors)
            self._graph = cast(faiss.IndexHNSWFlat, faiss.deserialize_index(np.frombuffer(links, dtype=np.uint8)))
            self._graph.storage = self._vectors
        self._graph.hnsw.efSearch = _SEARCH_EFFORT

    def links(self) -> bytes:
        """The graph without its vectors, a tenth of its size."""
        import faiss

        return faiss.serialize_index(self._graph, faiss.IO_FLAG_SKIP_STORAGE).tobytes()

    def similar(self, queries: Float[ndarray, "queries width"], count: int, least: float) -> Int[ndarray, "similar"]:
        """See `Neighbours`."""
        cosines, nearest = self._graph.search(np.ascontiguousarray(queries), count)
        return np.unique(nearest[(cosines > least) & (nearest >= 0)])


def neighbours_among(vectors: Float[ndarray, "names width"]) -> Neighbours:
    """The search that suits a number of vectors.

    Args:
        vectors: unit vectors.
    """
    return ApproximateNeighbours(vectors) if uses_graph(len(vectors)) else ExactNeighbours(vectors)


def uses_graph(count: int) -> bool:
    """Whether so many vectors are searched by a graph; all are compared if few, or where `faiss` is not installed.

    Args:
        count: of the vectors.
    """
    if count < _MANY_NAMES:
        return False
    if find_spec("faiss") is None:
        logger.warning(
            '%d names are compared one by one, which is slow; `pip install "hf_ctkd[index]"` speeds it up.', count
        )
        return False
    return True


def graph_settings() -> str:
    """What tells the links of one graph over the same vectors from those of another."""
    import faiss

    return f"faiss {faiss.__version__}, {_LINKS} links, effort {_BUILD_EFFORT}"
