"""The names of an index that are similar to given ones: by every cosine, or by approximate nearest neighbours."""

import logging
from importlib.util import find_spec
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

logger = logging.getLogger(__name__)

_MANY_NAMES = 100_000
"""From so many names on a search of all takes longer than the rest of a search of the index."""
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
        self._vectors = vectors

    def similar(self, queries: Float[ndarray, "queries width"], count: int, least: float) -> Int[ndarray, "similar"]:
        """See `Neighbours`."""
        nearest = []
        for cosines in queries @ self._vectors.T:
            above = np.flatnonzero(cosines > least)  # few: sorting these alone takes a tenth of sorting all
            if len(above) > count:
                above = above[np.argpartition(-cosines[above], count - 1)[:count]]
            nearest.append(above)
        return np.unique(np.concatenate(nearest))


class ApproximateNeighbours:
    """A graph of near neighbours (HNSW) of the package `faiss`, which looks at a few hundred vectors for each query.

    Args:
        vectors: unit vectors.

    Reference:
        Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using hierarchical navigable
        small world graphs", 2018.
    """

    def __init__(self, vectors: Float[ndarray, "names width"]) -> None:
        import faiss

        self._graph = faiss.IndexHNSWFlat(vectors.shape[1], _LINKS, faiss.METRIC_INNER_PRODUCT)
        self._graph.hnsw.efConstruction = _BUILD_EFFORT
        self._graph.hnsw.efSearch = _SEARCH_EFFORT
        self._graph.add(vectors)

    def similar(self, queries: Float[ndarray, "queries width"], count: int, least: float) -> Int[ndarray, "similar"]:
        """See `Neighbours`."""
        cosines, nearest = self._graph.search(np.ascontiguousarray(queries), count)
        return np.unique(nearest[(cosines > least) & (nearest >= 0)])


def neighbours_among(vectors: Float[ndarray, "names width"]) -> Neighbours:
    """The search that suits a number of vectors: of all where they are few, or where `faiss` is not installed.

    Args:
        vectors: unit vectors.
    """
    if len(vectors) < _MANY_NAMES:
        return ExactNeighbours(vectors)
    if find_spec("faiss") is None:
        logger.warning(
            '%d names are compared one by one, which is slow; `pip install "hf_ctkd[index]"` speeds it up.',
            len(vectors),
        )
        return ExactNeighbours(vectors)
    return ApproximateNeighbours(vectors)
