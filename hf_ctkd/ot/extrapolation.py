"""The limit of a slowly converging iteration, guessed from its last points."""

import torch
from torch import Tensor

FEWEST, MOST = 3, 6
"""Points that an extrapolation reads."""


def extrapolated(points: list[Tensor], mass: Tensor) -> Tensor:
    """Combine the last points of an iteration such that their differences cancel best, weighted by mass.

    Args:
        points: such as logarithms of column sums, `[batch, m]` each, the latest last.
        mass: weights, `[batch, m]`.

    Reference:
        Reduced rank extrapolation: after Sidi, "Vector extrapolation methods with applications", 2017.
    """
    stacked = torch.stack(points, 1)
    change = (stacked[:, 1:] - stacked[:, :-1]).mul_(mass.sqrt()[:, None])
    gram = (change @ change.transpose(1, 2)).double()
    largest = gram.diagonal(dim1=1, dim2=2).amax(1).clamp(min=1e-300)
    identity = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    gram = gram / largest[:, None, None] + 1e-10 * identity
    weights = torch.linalg.solve_ex(gram, torch.ones_like(gram[:, :, :1]))[0]
    weights = (weights / weights.sum(1, keepdim=True)).to(stacked.dtype)
    return (weights * stacked[:, 1:]).sum(1)
