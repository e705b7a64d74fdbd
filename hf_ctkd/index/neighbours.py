"""The names of an index that are most similar to given ones: exactly, or by approximate nearest neighbours."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray


@runtime_checkable
class Neighbours(Protocol):
    """A search among unit vectors."""

    def nearest(
        self, queries: Float[ndarray, "queries width"], count: int
    ) -> tuple[Int[ndarray, "queries count"], Float[ndarray, "queries count"]]:
        """The vectors with the largest cosines, best first, and these.

        Args:
            queries: unit vectors.
            count: how many for each query; fewer where there are fewer vectors.
        """


class ExactNeighbours:
    """Every cosine, by one matrix product.

    Args:
        vectors: unit vectors.
    """

    def __init__(self, vectors: Float[ndarray, "names width"]) -> None:
        self._vectors = vectors

    def nearest(
        self, queries: Float[ndarray, "queries width"], count: int
    ) -> tuple[Int[ndarray, "queries count"], Float[ndarray, "queries count"]]:
        """See `Neighbours`."""
        similarity = queries @ self._vectors.T
        count = min(count, similarity.shape[1])
        best = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(similarity, best, axis=1), axis=1, kind="stable")
        best = np.take_along_axis(best, order, axis=1)
        return best, np.take_along_axis(similarity, best, axis=1)
