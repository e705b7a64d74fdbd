"""What a teacher's outputs must look like before they are stored, and when they are read."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool
from torch import Tensor

MOST_NOT_FINITE = 0.5
"""Largest share of the rows that a teacher may have no finite outputs for, to be ranked or distilled from."""


def shape_fault(tensors: Mapping[str, Tensor], rows: int, *, classes: int | None = None) -> str | None:
    """Say which tensor is no `[rows, width]` of numbers, or None if all are.

    Args:
        tensors: outputs of a batch by name, as `named_tensors` gives them.
        rows: of the batch.
        classes: the width of logits; None where it is not known.
    """
    for name, tensor in tensors.items():
        if tensor.ndim != 2 or tensor.shape[0] != rows or tensor.shape[1] == 0:
            return f"its {name} have shape {list(tensor.shape)}, expected [{rows}, width]"
        if not tensor.is_floating_point():
            return f"its {name} are {tensor.dtype}, expected floating-point numbers"
    if classes is not None and "logits" in tensors and tensors["logits"].shape[1] != classes:
        return f"its logits have shape {list(tensors['logits'].shape)}, but its configuration names {classes} classes"
    return None


def finite_rows(tensors: Mapping[str, Tensor]) -> Bool[Tensor, " rows"]:
    """Which rows hold neither NaN nor infinity in any tensor.

    Args:
        tensors: outputs of a batch by name, each `[rows, width]`.
    """
    return torch.stack([torch.isfinite(tensor).all(dim=1) for tensor in tensors.values()]).all(dim=0)


def not_finite(tensors: Mapping[str, Tensor]) -> tuple[str, int] | None:
    """The first tensor that holds NaN or infinity and its first row that does, or None.

    Args:
        tensors: outputs of a batch by name, each `[rows, width]`.
    """
    for name, tensor in tensors.items():
        finite = torch.isfinite(tensor).all(dim=1)
        if not finite.all():
            return name, int((~finite).nonzero()[0])
    return None
