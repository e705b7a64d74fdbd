"""The part of the trainer that evaluates: what is measured, and of which weights."""

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers.trainer_utils import EvalLoopOutput, PredictionOutput, TrainOutput

from hf_ctkd.data import TargetRows
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records import Confidence
from hf_ctkd.tasks import StudentTask
from hf_ctkd.tasks.evaluation import as_confidences
from hf_ctkd.training.collator import RowDataset
from hf_ctkd.training.preparation import eval_rows, rows_to_predict
from hf_ctkd.training.saving import StudentTrainer
from hf_ctkd.training.student_with_loss import LOGITS, TASK, StudentWithLoss


@dataclass(eq=False)
class Evaluations:
    """What the evaluations of a student said, and of which of its weights.

    Args:
        row_losses: of the evaluation that runs, or of the last: summed task loss and number of labels of every row.
        measured: the same: what was computed, by name without prefix.
        by_step: what was measured on the trainer's own rows, by the optimiser step of the weights.
        restored_step: that of the weights when they are those of an earlier checkpoint; None for the last step.
    """

    row_losses: list[Tensor] = field(default_factory=list)
    measured: Mapping[str, Any] = field(default_factory=dict)
    by_step: dict[int, dict[str, Any]] = field(default_factory=dict)
    restored_step: int | None = None


class EvaluatedTrainer(StudentTrainer, ABC):
    """The part of `DistillationTrainer` that evaluates the student; teachers do not run."""

    task: StudentTask
    student_with_loss: StudentWithLoss
    _evaluations: Evaluations
    _space_rows: TargetRows | None

    @property
    def results(self) -> dict[str, Confidence]:
        """Metrics of the student as it is now on the trainer's own `eval_dataset`; empty if it was not evaluated.

        Those of several data sets stand after their names, as `"name_accuracy"`.
        """
        return as_confidences(self._evaluations.by_step.get(self._step, {}))

    @property
    def _step(self) -> int:
        """The optimiser step that the student's present weights are of."""
        restored = self._evaluations.restored_step
        return self.state.global_step if restored is None else restored

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:  # noqa: ANN401 (as in the parent)
        """Batches of raw rows for evaluation; see `Trainer`."""
        return super().get_eval_dataloader(self._as_rows(eval_dataset))

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader:  # noqa: ANN401 (as in the parent)
        """Batches of raw rows for prediction; see `Trainer`."""
        return super().get_test_dataloader(self._to_predict(test_dataset))

    def predict(
        self,
        test_dataset: Any,  # noqa: ANN401 (as in the parent)
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "test",
    ) -> PredictionOutput:
        """As in `Trainer`, for raw rows with or without labels: without any there are no metrics and no `label_ids`.

        There is a prediction for every row, in order, so that bad rows are not left out here.

        Raises:
            DatasetError: a row that cannot be used, which is named.
        """
        rows = self._to_predict(test_dataset)
        if not isinstance(rows, RowDataset) or self.task.has_labels(rows.rows):
            return super().predict(rows, ignore_keys, metric_key_prefix)
        compute_metrics, self.compute_metrics = self.compute_metrics, None
        try:
            return super().predict(rows, ignore_keys, metric_key_prefix)._replace(label_ids=None)
        finally:
            self.compute_metrics = compute_metrics

    def _to_predict(self, dataset: Any) -> Any:  # noqa: ANN401 (as in the parent)
        if not isinstance(dataset, datasets.Dataset):
            return dataset
        rows = rows_to_predict(dataset, self._known_rows(), self.task)
        return RowDataset(rows, train=False, task=self.task)

    def _as_rows(self, dataset: Any) -> Any:  # noqa: ANN401 (as in the parent)
        if not isinstance(dataset, datasets.Dataset):
            return dataset
        return self._evaluated(eval_rows(dataset, self.args, self._space_rows, self.task), dataset)

    def _evaluated(self, rows: Mapping[str, TargetRows], given: object) -> Any:  # noqa: ANN401 (as Trainer takes it)
        wrapped = {name: RowDataset(each, train=False, task=self.task) for name, each in rows.items()}
        return wrapped if isinstance(given, dict) else wrapped.get("")

    def _known_rows(self) -> TargetRows:
        if self._space_rows is None:
            raise InvalidArgumentError("`train_dataset` or `eval_dataset` must be given, got neither.")
        return self._space_rows

    def evaluate(
        self,
        eval_dataset: Any = None,  # noqa: ANN401 (as in the parent)
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """As in `Trainer`; what was measured on the trainer's own `eval_dataset` is kept for the record."""
        metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        chosen = self.eval_dataset if eval_dataset is None else eval_dataset
        # Several data sets are evaluated one by one, by their names.
        if isinstance(chosen, str) or (chosen is self.eval_dataset and not isinstance(chosen, dict)):
            start = f"{chosen}_" if isinstance(chosen, str) else ""
            measured = {f"{start}{name}": value for name, value in self._evaluations.measured.items()}
            self._evaluations.by_step.setdefault(self._step, {}).update(measured)
        return metrics

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:  # noqa: ANN401 (as in the parent)
        """As in `Trainer`; what was measured before is of another student."""
        self._evaluations = Evaluations()
        return super().train(*args, **kwargs)

    def _load_best_model(self) -> None:
        super()._load_best_model()
        if self.state.best_model_checkpoint is not None:
            self._evaluations.restored_step = int(Path(self.state.best_model_checkpoint).name.rpartition("-")[2])

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
        rows = self.task.row_losses(prediction, labels, label_smoothing=self.student_with_loss.label_smoothing)
        self._evaluations.row_losses.append(self.accelerator.gather_for_metrics(rows).cpu().double())
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
        self._evaluations.row_losses = []
        output = super().evaluation_loop(dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)
        rows = torch.cat(self._evaluations.row_losses)
        finite = rows.isfinite().all(dim=1)
        if self.args.logging_nan_inf_filter and finite.any():
            rows = rows[finite]
        loss, labels = rows.sum(dim=0).tolist()
        # `Trainer` weighs the means of batches by their rows, however many of these have a label.
        key = f"{metric_key_prefix}_loss"
        metrics = {name: value for name, value in (output.metrics or {}).items() if name != key}
        self._evaluations.measured = {
            name.removeprefix(f"{metric_key_prefix}_"): value
            for name, value in metrics.items()
            if name != f"{metric_key_prefix}_model_preparation_time"
        }
        return output._replace(metrics=metrics | ({key: loss / labels} if labels else {}))
