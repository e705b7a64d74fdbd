"""Effective rank of the student's features during training, and a warning where they collapse."""

import logging

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

logger = logging.getLogger(__name__)

_COLLAPSED_SHARE = 0.25
_FEWEST_CLASSES = 3
"""One direction is enough to tell two classes apart, or to predict one number."""


def effective_rank(features: Float[Tensor, "rows width"]) -> float:
    """Exponential of the entropy of the shares of variance along the principal directions; 1 for equal rows.

    Args:
        features: of at least one row.
    """
    centred = features.detach().double() - features.detach().double().mean(dim=0)
    rows, width = centred.shape
    # The eigenvalues of the smaller Gram matrix are the squared singular values, at a fraction of the cost.
    gram = centred.T @ centred if rows > width else centred @ centred.T
    variances = torch.linalg.eigvalsh(gram).clamp_min(0)
    shares = variances / variances.sum().clamp_min(torch.finfo(variances.dtype).tiny)
    return float((-torch.special.xlogy(shares, shares).sum()).exp())


class FeatureRank(nn.Module):
    """Watches the effective rank of the student's features while a loss acts on them.

    The features of `n` classes that a linear head tells apart span `n - 1` directions. They count as collapsed when
    their effective rank, in a batch, is below a quarter of that (or of what the batch can have) and below a quarter of
    the highest one seen since the start. With fewer than three classes nothing counts as collapsed.

    Args:
        loss: name of the loss, for the warning.
    """

    highest: Tensor
    collapsed_to: Tensor

    def __init__(self, loss: str) -> None:
        super().__init__()
        self.loss = loss
        self._classes = 0
        self._recorded: tuple[Tensor, Tensor | None] | None = None
        self.register_buffer("highest", torch.zeros(()))
        self.register_buffer("collapsed_to", torch.zeros(()))

    def setup(self, features: Float[Tensor, "rows width"], classes: int) -> None:
        """Start from the untrained student.

        Args:
            features: of some rows.
            classes: of the target.
        """
        self._classes = classes
        self.highest = torch.tensor(effective_rank(features), dtype=torch.float32)

    def record(
        self, features: Float[Tensor, "batch positions width"], mask: Bool[Tensor, "batch positions"] | None = None
    ) -> None:
        """Remember the features of a batch until the next one.

        Args:
            features: of the student.
            mask: false at padding.
        """
        if self.training:
            # Padding is left out later: a step would have to wait for the number of positions that are left.
            self._recorded = features.detach(), mask

    def observe(self) -> dict[str, float]:
        """The effective rank of the last batch; warns when the features have collapsed. Empty before the first batch.

        It costs an eigenvalue decomposition, so call it when something is logged and not at every step.
        """
        if self._recorded is None:
            return {}
        values, mask = self._recorded
        features = values.flatten(0, 1) if mask is None else values[mask]
        if len(features) < 2:
            return {}
        rank = effective_rank(features)
        self.highest = self.highest.clamp_min(rank)
        needed = min(self._classes - 1, len(features) - 1, features.shape[1])
        collapsed = rank < _COLLAPSED_SHARE * needed and rank < _COLLAPSED_SHARE * float(self.highest)
        if self._classes >= _FEWEST_CLASSES and collapsed:
            if not self.collapsed_to:
                logger.warning(
                    f"The student's features collapse under the loss {self.loss}: their effective rank fell from "
                    f"{float(self.highest):.1f} to {rank:.1f}. Lower its `weight`, or choose another distance."
                )
            self.collapsed_to = torch.full_like(self.collapsed_to, rank)
        return {f"{self.loss}/student_effective_rank": rank}

    def remarks(self) -> tuple[str, ...]:
        """A sentence for the card if the features collapsed at any time."""
        if not self.collapsed_to:
            return ()
        return (
            f"The student's features collapsed in training: their effective rank fell from {float(self.highest):.1f} "
            f"to {float(self.collapsed_to):.1f} under the loss {self.loss}.",
        )
