"""From names of classes to the label spaces that are worth most for them, without a look at every space."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from hf_ctkd.index.label_spaces import LabelSpaces
from hf_ctkd.index.label_transport import EPSILON, TAU, TargetNames, transport_costs
from hf_ctkd.index.neighbours import Neighbours

_FEWEST_NAMES, _MOST_NAMES = 128, 512
"""Names that are gathered for each class of the target: more where each is in few spaces, as in a small index."""
_MOST_ENTRIES = 200_000
"""Entries of lists of spaces that are read; those of the most similar names, and the smallest spaces, first."""
_MOST_OF_ONE = 25_000
"""Of one name, which may be in a large part of all spaces, such as "positive"."""
_TRANSPORTED = 8
"""So many spaces are solved for each one that is returned."""
_LEAST_TRANSPORTED = 256


@dataclass(frozen=True, eq=False)
class NameSearch:
    """What the names of an index are compared by.

    Args:
        vectors: unit vectors of the names.
        neighbours: a search among them.
        unrelated: cosine of names that have nothing in common.
    """

    vectors: Float[ndarray, "names width"]
    neighbours: Neighbours
    unrelated: float

    def resembling(self, queries: Float[ndarray, "classes width"], spaces: LabelSpaces) -> TargetNames:
        """The names that resemble any of some classes, with their similarity to all of them.

        Args:
            queries: unit vectors of the classes.
            spaces: of the index; how many hold a name decides how many names are worth reading.
        """
        readable = _MOST_ENTRIES * len(self.vectors) / max(1, len(spaces.holders.values))
        count = int(np.clip(readable / max(1, len(queries)), _FEWEST_NAMES, _MOST_NAMES))
        return self.compared(self.neighbours.similar(queries, count, self.unrelated), queries)

    def compared(self, names: Int[ndarray, "names"], queries: Float[ndarray, "classes width"]) -> TargetNames:
        """Given names, with their similarity to some classes.

        Args:
            names: numbers in the index, ascending.
            queries: unit vectors of the classes.
        """
        similarity = (self.vectors[names] @ queries.T - self.unrelated) / (1 - self.unrelated)
        return TargetNames(names, similarity.clip(0, 1))


def best_spaces(
    target: TargetNames, spaces: LabelSpaces, count: int, allowed: Bool[ndarray, "spaces"] | None = None
) -> tuple[Int[ndarray, "best"], Float[ndarray, "best"]]:
    """The spaces with the least transport cost, best first, and these costs.

    Args:
        target: classes, and names that resemble them.
        spaces: of the index.
        count: most spaces to return; those without a name that resembles any class are never among them.
        allowed: which spaces may be returned; all when None.
    """
    gathered, matches = _gathered(target, spaces, allowed)
    limit = max(_LEAST_TRANSPORTED, _TRANSPORTED * count)
    if len(gathered) > limit:
        estimate = _estimated(matches, spaces.sizes[gathered])
        best = np.argpartition(estimate, limit - 1)[:limit]
        gathered = gathered[best]
    if not len(gathered):
        return gathered, np.zeros(0, dtype=np.float32)
    costs = transport_costs(target, spaces, gathered)
    order = np.lexsort((gathered, costs))[:count]
    return gathered[order], costs[order]


def _gathered(target: TargetNames, spaces: LabelSpaces, allowed: ndarray | None) -> tuple[ndarray, ndarray]:
    """Spaces with a name that resembles a class; `[classes, spaces]`, how much the best of them resembles each."""
    by_similarity = np.argsort(-target.similarity.max(axis=1, initial=0), kind="stable")
    lists = [spaces.holders[name] for name in target.names[by_similarity]]
    lengths = np.array([len(entries) for entries in lists], dtype=np.int64)
    shares = _shares(lengths)
    lists = [entries[:share] for entries, share in zip(lists, shares, strict=True)]
    if allowed is not None:
        lists = [entries[allowed[entries]] for entries in lists]
    position = np.zeros(len(spaces.sizes), dtype=np.int32)
    seen = np.zeros(len(spaces.sizes), dtype=bool)
    for entries in lists:
        seen[entries] = True
    gathered = np.flatnonzero(seen)
    position[gathered] = np.arange(len(gathered), dtype=np.int32)
    matches = np.zeros((target.similarity.shape[1], len(gathered)), dtype=np.float32)
    for name, entries in zip(by_similarity, lists, strict=True):
        columns = position[entries]
        for label in np.flatnonzero(target.similarity[name]):  # few: most names resemble a single class
            of_class = matches[label]
            of_class[columns] = np.maximum(of_class[columns], target.similarity[name, label])
    return gathered, matches


def _shares(lengths: ndarray) -> ndarray:
    """How much of each list is read: all, in their order, until `_MOST_ENTRIES` are; of a very long one only a part."""
    shares = np.minimum(lengths, _MOST_OF_ONE)
    return np.clip(_MOST_ENTRIES - (np.cumsum(shares) - shares), 0, shares)


def _estimated(matches: ndarray, sizes: ndarray) -> ndarray:
    """The cost with each class carried to its most similar name, as if these all differed."""
    used = np.maximum((matches > 0).sum(axis=0), 1)
    return 1 - matches.mean(axis=0) + (EPSILON + TAU) * np.log(np.maximum(sizes / used, 1))
