"""Principal components of features, for metrics that cannot use all of a wide teacher's directions."""

import torch
from jaxtyping import Float
from torch import Tensor


def principal_components(
    features: Float[Tensor, "rows width"], *, most: int | None = None, variance: float = 1.0
) -> Float[Tensor, "rows components"]:
    """Coordinates of the rows along the directions of largest variance, at least one.

    Each direction points to where its largest entry is positive, as in scikit-learn, so that the order of rows cannot
    turn it round.

    Args:
        features: one vector a row.
        most: most components kept; all that rows and width allow when None.
        variance: share of the variance that those kept explain, in (0, 1].
    """
    centred = features - features.mean(dim=0)
    left, singular, right = torch.linalg.svd(centred, full_matrices=False)
    power = singular.square()
    explained = power.cumsum(dim=0) / power.sum().clamp_min(1e-300)
    # Rounding leaves the last sums a little below or above one.
    enough = int((explained < variance - 1e-12).sum()) + 1
    kept = min(enough, len(singular) if most is None else most, len(singular))
    largest = right[:kept].gather(1, right[:kept].abs().argmax(dim=1, keepdim=True)).squeeze(1)
    return left[:, :kept] * singular[:kept] * torch.where(largest < 0, -1.0, 1.0)
