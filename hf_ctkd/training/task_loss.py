"""What a wrong prediction costs in training: the task's own loss, weighed by class, or a function of the user's."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Shaped
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn
from transformers.utils import ModelOutput

from hf_ctkd.data import TargetRows
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.tasks import Classification, StudentTask
from hf_ctkd.training.config import DistillationConfig

BALANCED = "balanced"

ComputeLossFunc = Callable[..., Tensor]
"""As `compute_loss_func` of `Trainer`: from outputs with `logits`, labels, and `num_items_in_batch` to a loss."""


class TaskLoss(nn.Module):
    """The task loss of a batch, a mean over its labels; 0 without any.

    Args:
        task: what the student is for; classification when None.
        label_smoothing: in [0, 1).
        class_weights: `[classes]`, factors of the loss of a row by its class; None for 1. They belong to training:
            the loss of an evaluation is without them.
        compute_loss_func: takes the place of the task's own loss; None for that. It sees labelled rows only.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        task: StudentTask | None = None,
        *,
        label_smoothing: float = 0.0,
        class_weights: Float[Tensor, " classes"] | None = None,
        compute_loss_func: ComputeLossFunc | None = None,
    ) -> None:
        super().__init__()
        self.task = Classification() if task is None else task
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.compute_loss_func = compute_loss_func

    @classmethod
    def of(
        cls,
        task: StudentTask,
        args: DistillationConfig,
        rows: TargetRows | None,
        compute_loss_func: ComputeLossFunc | None,
    ) -> "TaskLoss":
        """The task loss of a run.

        Args:
            task: of the run.
            args: label smoothing and class weights.
            rows: training rows, whose classes "balanced" weights count.
            compute_loss_func: of the user.

        Raises:
            InvalidArgumentError: for class weights that do not fit the task.
        """
        weights = resolve_class_weights(args.class_weights, rows, task)
        smoothing = args.label_smoothing_factor
        return cls(task, label_smoothing=smoothing, class_weights=weights, compute_loss_func=compute_loss_func)

    def forward(self, prediction: Tensor, labels: Shaped[Tensor, "batch ..."]) -> Float[Tensor, ""]:
        """The loss to be minimised.

        Args:
            prediction: as the task reads it from the student's outputs.
            labels: as the task collates them.
        """
        if self.compute_loss_func is not None:
            return self._given(self.compute_loss_func, prediction, labels)
        losses = self.task.row_losses(prediction, labels, label_smoothing=self.label_smoothing)
        if self.class_weights is not None:
            losses = losses * self.class_weights[self.task.row_labels(labels).clamp_min(0)]
        return losses.sum() / self.task.count(labels).clamp_min(1)

    def row_losses(self, prediction: Tensor, labels: Shaped[Tensor, "batch ..."]) -> Float[Tensor, "batch 2"]:
        """For an evaluation: the loss of every row, summed over its labels, and the number of these.

        A function of the user's gives one value a batch, of which each label gets the same share.

        Args:
            prediction: as in `forward`.
            labels: as in `forward`.
        """
        counts = self.task.label_counts(labels)
        if self.compute_loss_func is None:
            losses = self.task.row_losses(prediction, labels, label_smoothing=self.label_smoothing)
        else:
            losses = counts * self._given(self.compute_loss_func, prediction, labels)
        return torch.stack([losses, counts.to(losses.dtype)], dim=1)

    def _given(self, function: ComputeLossFunc, prediction: Tensor, labels: Tensor) -> Tensor:
        labelled = self.task.labelled(labels)
        if not labelled.any():
            return 0.0 * prediction.sum()  # most functions give NaN for the mean over no row
        # The number of labels of this batch: a sum over that number and a mean give the same, which the trainer then
        # weighs by the batch's share of the labels of the whole optimiser step.
        count = self.task.count(labels)
        outputs = ModelOutput(logits=prediction[labelled])
        loss = function(outputs, labels[labelled], num_items_in_batch=count)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            shape = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise InvalidArgumentError(
                f"`compute_loss_func` must return a tensor with one number, got {shape}. Sum or average its losses."
            )
        return loss.reshape(())


def resolve_class_weights(
    given: str | list[float] | None, rows: TargetRows | None, task: StudentTask
) -> Float[Tensor, " classes"] | None:
    """The factor of each class, scaled so that labelled training rows have 1 on average.

    So the weights change neither the size of the task loss nor its balance with the distillation loss.

    Args:
        given: `DistillationConfig.class_weights`.
        rows: the training rows; None where the student is only evaluated.
        task: what the student is for.

    Raises:
        InvalidArgumentError: if rows have no classes, or the weights are not one positive number a class.
    """
    if given is None or rows is None:
        return None
    if task.loss_labels != "class":
        raise InvalidArgumentError(
            f"`class_weights` are for one class a row, but the student is for {type(task).__name__}. Pass a "
            "`compute_loss_func` instead."
        )
    labels = rows.labels[rows.labelled].numpy()
    weights = np.ones(len(rows.label_space))
    if given == BALANCED:
        present = np.unique(labels)
        weights[present] = compute_class_weight(BALANCED, classes=present, y=labels)
    else:
        weights = _numbers(given, len(rows.label_space))
    return torch.tensor(weights / weights[labels].mean(), dtype=torch.float32)


def _numbers(given: str | list[float], classes: int) -> np.ndarray:
    values = given.split(",") if isinstance(given, str) else given
    try:
        weights = np.array([float(value) for value in values])
    except ValueError:
        weights = np.array([])
    if len(weights) != classes or not (np.isfinite(weights) & (weights > 0)).all():
        raise InvalidArgumentError(
            f"`class_weights` must be '{BALANCED}' or {classes} positive numbers, one for each class in order, got "
            f"{given!r}. Separate them by commas on the command line."
        )
    return weights
