"""Class centres of features, of unit length, and how well they tell classes apart."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def unit_centres(sums: Float[Tensor, "classes width"]) -> Float[Tensor, "classes width"]:
    """Centres of length one; zeros for a class without a row.

    Args:
        sums: of the features of each class; a mean has the same direction.
    """
    return F.normalize(sums, dim=1)


def leave_one_out_accuracy(
    features: Float[Tensor, "rows width"], labels: Int[Tensor, " rows"], n_classes: int
) -> float:
    """Share of rows whose largest product with a unit class centre is that of their class.

    The centre of a row's class is computed without the row, so a class with a single row is never right. In 64 bits.

    Args:
        features: of labelled rows.
        labels: class ids, none of them -100.
        n_classes: number of classes.
    """
    features = features.double()
    one_hot = F.one_hot(labels, n_classes).double()
    sums = one_hot.T @ features
    scores = features @ unit_centres(sums).T
    without = unit_centres(sums[labels] - features)
    scores = torch.where(one_hot > 0, (features * without).sum(dim=1, keepdim=True), scores)
    counts = one_hot.sum(dim=0)
    # Classes without any row have no centre, nor has a class whose only row is left out.
    scores = scores.masked_fill((counts == 0) | ((one_hot > 0) & (counts == 1)), -torch.inf)
    return float((scores.argmax(dim=1) == labels).double().mean())
