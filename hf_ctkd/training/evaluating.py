"""The part of the trainer that evaluates: a task loss that is a mean over labels, however rows are batched."""

from abc import ABC
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers.trainer_utils import EvalLoopOutput

from hf_ctkd.training.saving import StudentTrainer
from hf_ctkd.training.tasks import StudentTask
from hf_ctkd.training.trainee import LOGITS, TASK


class EvaluatedTrainer(StudentTrainer, ABC):
    """The part of `DistillationTrainer` that evaluates the student; teachers do not run."""

    task: StudentTask
    _row_losses: list[Tensor]

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Task loss, prediction and labels of a batch; teachers do not run."""
        inputs = self._prepare_inputs(inputs)
        labels = inputs["labels"]
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = model(student=inputs["student"], labels=labels)
        loss, prediction = outputs[TASK].detach(), outputs[LOGITS].detach()
        rows = self.task.row_losses(prediction, labels, label_smoothing=self.trainee.label_smoothing)
        self._row_losses.append(self.accelerator.gather_for_metrics(rows).double().cpu())
        if prediction_loss_only:
            return loss, None, None
        return loss, self.task.evaluated(prediction, labels), labels

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """As in `Trainer`, but the loss is the mean over all labels, and left out where there is none."""
        self._row_losses = []
        output = super().evaluation_loop(dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)
        rows = torch.cat(self._row_losses)
        finite = rows.isfinite().all(dim=1)
        if self.args.logging_nan_inf_filter and finite.any():
            rows = rows[finite]
        loss, labels = rows.sum(dim=0).tolist()
        # `Trainer` weighs the means of batches by their rows, however many of these have a label.
        key = f"{metric_key_prefix}_loss"
        metrics = {name: value for name, value in (output.metrics or {}).items() if name != key}
        return output._replace(metrics=metrics | ({key: loss / labels} if labels else {}))
