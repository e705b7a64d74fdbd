"""What the evaluations of a run gave, and which of the student's weights they are of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(eq=False)
class Evaluations:
    """Results of evaluations, and which of the student's weights they are of.

    Args:
        row_losses: of the last evaluation, a batch each: summed task loss and number of labels of every row.
        metrics: of the last evaluation, by name without prefix.
        by_step: metrics on the trainer's own evaluation rows, by the optimiser step of the weights.
        restored_step: of the weights if they were restored from an earlier checkpoint; None for the last step.
    """

    row_losses: list[Tensor] = field(default_factory=list)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    by_step: dict[int, dict[str, Any]] = field(default_factory=dict)
    restored_step: int | None = None

    def mean_loss(self, *, finite_only: bool) -> float | None:
        """The task loss of the last evaluation as a mean over all labels; None where there is none.

        Args:
            finite_only: leave out rows whose loss is not finite, unless that is all of them.
        """
        row_losses = torch.cat(self.row_losses)
        finite = row_losses.isfinite().all(dim=1)
        if finite_only and finite.any():
            row_losses = row_losses[finite]
        loss, labels = row_losses.sum(dim=0).tolist()
        return loss / labels if labels else None
