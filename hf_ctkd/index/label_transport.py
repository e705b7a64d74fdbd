"""What it costs to carry the classes of a target over to those of many teachers, by names alone."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray

from hf_ctkd.index.label_spaces import LabelSpaces
from hf_ctkd.ot import OTProblem, Sinkhorn

EPSILON, TAU = 0.01, 0.03
"""Entropy of the plan, and how strongly a teacher's classes are to be used evenly; costs are from 0 to 1.

A teacher may have many more classes than the target: with these values one of 1,000 classes that hold all 10 of the
target costs 0.18, as much as one whose names are less similar by this.
"""
_SOLVER = Sinkhorn(EPSILON, 300, tolerance=1e-3, on_failure="report", tau_a=TAU)
_BLOCK = 2**22
"""Entries of the costs that are solved at once."""
_LEAST_MASS = 1e-6


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
    values, owners = spaces.members.gather(chosen)
    position = np.searchsorted(target.names, values)
    position[position == len(target.names)] = 0
    alike = target.names[position] == values if len(target.names) else np.zeros(len(values), dtype=bool)
    position, owners = position[alike], owners[alike]
    counts = np.bincount(owners, minlength=len(chosen))
    starts = np.cumsum(counts) - counts
    costs = np.empty(len(chosen), dtype=np.float32)
    # Problems of similar sizes go together, so that little is padded.
    order = np.argsort(counts, kind="stable")
    classes = target.similarity.shape[1]
    start = 0
    while start < len(order):
        size = max(1, _BLOCK // (classes * (int(counts[order[min(start + 63, len(order) - 1)]]) + 1)))
        rows = order[start : start + size]
        costs[rows] = _solved(target, position, starts[rows], counts[rows], spaces.sizes[chosen[rows]])
        start += size
    return costs


def _solved(target: TargetNames, position: ndarray, starts: ndarray, counts: ndarray, sizes: ndarray) -> ndarray:
    """One block: a row for each similar class, one for all the others, and padding without mass."""
    classes, most = target.similarity.shape[1], int(counts.max())
    cost = np.ones((len(starts), most + 1, classes), dtype=np.float32)
    mass = np.zeros((len(starts), most + 1), dtype=np.float32)
    problem = np.repeat(np.arange(len(starts)), counts)
    row = np.arange(len(problem)) - np.repeat(np.cumsum(counts) - counts, counts)
    cost[problem, row] = 1 - target.similarity[position[np.repeat(starts, counts) + row]]
    mass[problem, row] = 1 / sizes[problem]
    # The class of the others is there even where it has no mass: epsilon and tau are relative to the largest cost.
    mass[:, -1] = np.maximum((sizes - counts) / sizes, _LEAST_MASS)
    b = torch.full((len(starts), classes), 1 / classes)
    solution = _SOLVER.solve(OTProblem(torch.from_numpy(cost), torch.from_numpy(mass), b, check=False))
    return solution.value.numpy()
