"""What it costs to carry the classes of a target over to those of many teachers, by names alone."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.sparse import csr_array

from hf_ctkd.index.label_spaces import LabelSpaces

EPSILON, TAU = 0.01, 0.03
"""Entropy of the plan, and how strongly a teacher's classes are to be used evenly; costs are from 0 to 1.

A teacher may have many more classes than the target: with these values one of 1,000 classes that hold all 10 of the
target costs 0.18, as much as one whose names are less similar by this.
"""
_POWER = TAU / (TAU + EPSILON)
_STEPS = 20
"""The potentials contract by `_POWER` a step: their error falls to a 300th, and that of the costs to 1e-5."""
_BLOCK = 50_000
"""Spaces that are solved at once."""


@dataclass(frozen=True, eq=False)
class TargetNames:
    """The classes of a target, and the names of an index that resemble any of them.

    Args:
        names: numbers of these names in the index, ascending.
        similarity: of each to each class, from 0 (no more than unrelated names) to 1.
    """

    names: Int[ndarray, "names"]
    similarity: Float[ndarray, "names classes"]


def transport_costs(
    target: TargetNames, spaces: LabelSpaces, chosen: Int[ndarray, "chosen"]
) -> Float[ndarray, "chosen"]:
    """The optimum of unbalanced transport between the classes of the target and those of some label spaces.

    Each class of the target must be carried over; a teacher's classes are used as evenly as is worth it. Classes that
    resemble none of the target are alike in every cost, so that they count as a single class with their mass, which
    changes no optimum and makes the problem of 1,000 classes as small as that of ten.

    Args:
        target: classes, and names that resemble them.
        spaces: of the index.
        chosen: the spaces.

    Reference:
        Cost between label spaces after Lu, Ye and Zhan, "Selective cross-task distillation", arXiv:2204.11526; relaxed
        marginals after Chizat et al., "Scaling algorithms for unbalanced optimal transport problems", 2018.
    """
    blocks = (chosen[start : start + _BLOCK] for start in range(0, len(chosen), _BLOCK))
    solved = [_Problems.of(target, spaces, block).costs() for block in blocks]
    return np.concatenate([np.zeros(0), *solved]).astype(np.float32)


@dataclass(frozen=True, eq=False)
class _Problems:
    """Transport problems with kernels that are sparse but for a constant in each column.

    Most names resemble one class of a target or two, and cost 1 for the others. `ot.Sinkhorn` takes 270 ms of processor
    time for the 400 problems of a search, as dense and padded tensors; this takes 3 ms.

    Args:
        kernel: `exp((similarity - best) / epsilon)` less `base`, where a name resembles a class; `[rows, problems *
            classes]`. With the best of a column as its zero the entries are in the range of float64.
        base: the same of names without similarity, `[problems, classes]`.
        best: the largest similarity of each class in each problem.
        owners: problem of each row.
        mass: of each row.
        other: mass of the names that resemble no class, of each problem.
    """

    kernel: csr_array
    base: Float[ndarray, "problems classes"]
    best: Float[ndarray, "problems classes"]
    owners: Int[ndarray, "rows"]
    mass: Float[ndarray, "rows"]
    other: Float[ndarray, "problems"]

    @classmethod
    def of(cls, target: TargetNames, spaces: LabelSpaces, chosen: Int[ndarray, "chosen"]) -> "_Problems":
        classes, sizes = target.similarity.shape[1], spaces.sizes[chosen].astype(np.float64)
        position = np.full(len(spaces.names), -1, dtype=np.int32)
        position[target.names] = np.arange(len(target.names), dtype=np.int32)
        values, owners = spaces.members.gather(chosen)
        rows = position[values]
        rows, owners = rows[rows >= 0], owners[rows >= 0]
        similarity = csr_array(target.similarity.astype(np.float64))[rows]
        columns = np.repeat(owners, np.diff(similarity.indptr)) * classes + similarity.indices
        best = np.zeros(len(chosen) * classes)
        np.maximum.at(best, columns, similarity.data)
        base = np.exp(-best / EPSILON)
        entries = np.exp((similarity.data - best[columns]) / EPSILON) - base[columns]
        kernel = csr_array((entries, columns, similarity.indptr), shape=(len(rows), len(best)))
        shape = (len(chosen), classes)
        other = 1 - np.bincount(owners, minlength=len(chosen)) / sizes
        return cls(kernel, base.reshape(shape), best.reshape(shape), owners, 1 / sizes[owners], other)

    def costs(self) -> Float[ndarray, "problems"]:
        """The optimum of each, from alternate scaling: `u = a (K v)^-power`, `v = b / (K^T u)`, with `b` uniform."""
        problems, classes = self.base.shape
        transposed = self.kernel.T.tocsr()
        v = np.ones_like(self.base)
        for _ in range(_STEPS):
            of_others = (self.base * v).mean(axis=1)
            sums = of_others[self.owners] + self.kernel @ v.ravel() / classes
            u = self.mass * sums**-_POWER
            total = np.bincount(self.owners, u, minlength=problems) + self.other * of_others**-_POWER
            columns = self.base * total[:, None] + (transposed @ u).reshape(problems, classes)
            v = 1 / columns
        # The dual value, `<b, g> - tau log <a, exp(-f / tau)>`, maximal over a common shift of both potentials, with
        # `f = -epsilon power log(K v)` and `g = -epsilon log(K^T u)`, from the largest similarity of each class on.
        potentials = 1 - self.best - EPSILON * np.log(columns)
        of_rows = np.bincount(self.owners, self.mass * sums ** (1 - _POWER), minlength=problems)
        relaxed = of_rows + self.other * of_others ** (1 - _POWER)
        return potentials.mean(axis=1) - TAU * np.log(relaxed)
