"""What the evaluations of a run gave, and which of the student's weights they are of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import EvalPrediction
from transformers.trainer_utils import EvalLoopOutput

from hf_ctkd.records import Reliability


@dataclass(eq=False)
class Evaluations:
    """Results of evaluations, and which of the student's weights they are of.

    Args:
        row_losses: of the last evaluation, a batch each: summed task loss and number of labels of every row.
        metrics: of the last evaluation, by name without prefix.
        reliability: of the last evaluation; None where the predictions are no probabilities.
        by_step: metrics on the trainer's own evaluation rows, by the optimiser step of the weights.
        reliability_by_step: the same of the reliability; None where the trainer has several sets of evaluation rows.
        restored_step: of the weights if they were restored from an earlier checkpoint; None for the last step.
    """

    row_losses: list[Tensor] = field(default_factory=list)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    reliability: Reliability | None = None
    by_step: dict[int, dict[str, Any]] = field(default_factory=dict)
    reliability_by_step: dict[int, Reliability | None] = field(default_factory=dict)
    restored_step: int | None = None

    def take(
        self,
        output: EvalLoopOutput,
        prefix: str,
        *,
        finite_only: bool,
        reliability: Callable[[EvalPrediction], Reliability | None] | None,
    ) -> EvalLoopOutput:
        """Keep what an evaluation gave, and return it with the mean loss over all labels, or none without a label.

        Args:
            output: of `Trainer`, which averages the losses of batches by their rows, labelled or not.
            prefix: of the names of its metrics.
            finite_only: see `mean_loss`.
            reliability: of the task; None where the predictions were changed before they were kept.
        """
        loss, key = self.mean_loss(finite_only=finite_only), f"{prefix}_loss"
        metrics = {name: value for name, value in (output.metrics or {}).items() if name != key}
        self.metrics = {
            name.removeprefix(f"{prefix}_"): value
            for name, value in metrics.items()
            if name != f"{prefix}_model_preparation_time"
        }
        predictions, labels = output.predictions, output.label_ids
        # `prediction_loss_only` and `batch_eval_metrics` keep none, `eval_do_concat_batches=False` a list of batches.
        self.reliability = None
        if reliability is not None and isinstance(predictions, np.ndarray) and isinstance(labels, np.ndarray):
            self.reliability = reliability(EvalPrediction(predictions, labels))
        return output._replace(metrics=metrics | ({} if loss is None else {key: loss}))

    def remember(self, step: int, name: str | None) -> None:
        """Keep what the last evaluation gave as the result of the trainer's own evaluation rows.

        Args:
            step: of the student's weights.
            name: of the set of rows, where there are several; None for the only one.
        """
        prefix = "" if name is None else f"{name}_"
        named = {f"{prefix}{metric}": value for metric, value in self.metrics.items()}
        self.by_step.setdefault(step, {}).update(named)
        self.reliability_by_step[step] = self.reliability if name is None else None

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
