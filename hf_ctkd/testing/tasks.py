"""What every kind of student must do, checked on a few rows of the user's own; needs no test runner."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import datasets
import torch
from torch import Tensor
from transformers import EvalPrediction, PreTrainedModel

from hf_ctkd.data import Preprocessor, ProcessingClass, TargetRows
from hf_ctkd.losses import DistillationLoss
from hf_ctkd.records import TaskWords
from hf_ctkd.tasks import StudentTask
from hf_ctkd.teachers import FeatureReader
from hf_ctkd.testing.promise import expect
from hf_ctkd.types import UNLABELLED, ModelOutputs

_ROWS = 32
_STEP = 1e-3


@dataclass
class _Arguments:
    """Arguments of a run as tasks read them."""

    input_column: list[str] | None = None
    label_column: str | None = None
    skip_bad_rows: bool = False
    label_smoothing_factor: float = 0.0
    metrics: list[str] = field(default_factory=list)
    bootstrap_resamples: int = 20
    seed: int = 0


@dataclass(frozen=True, eq=False)
class _Batch:
    """Rows of the task as the trainer has them.

    Args:
        rows: raw rows.
        outputs: of the student.
        prediction: what the task reads from them.
        labels: collated.
        with_label: which rows have a label.
    """

    rows: TargetRows
    outputs: ModelOutputs
    prediction: Tensor
    labels: Tensor
    with_label: list[int]


def check_task(
    task: StudentTask,
    dataset: datasets.Dataset,
    student: PreTrainedModel,
    processing_class: ProcessingClass,
    *,
    label_column: str | None = None,
) -> None:
    """Check that a task keeps the contract of `StudentTask`.

    Args:
        task: the task.
        dataset: a few raw rows, some with a label and some without; the first 32 are used.
        student: a model with the head that the task asks for.
        processing_class: its image processor or tokenizer.
        label_column: column of labels; found by the task when None.

    Raises:
        AssertionError: naming the first promise that is broken.
        DatasetError: if the rows are not those of the task.
        InvalidArgumentError: if the student is not one of the task.
    """
    arguments = _Arguments(label_column=label_column)
    task.check_arguments(arguments)
    rows = task.rows(dataset.select(range(min(_ROWS, len(dataset)))), arguments)
    batch = _batch(task, rows, student, processing_class)
    _check_rows(task, dataset, batch)
    _check_labels(task, batch)
    _check_loss(task, batch)
    _check_metrics(task, batch, arguments)
    _check_description(task, batch)


def _batch(task: StudentTask, rows: TargetRows, student: PreTrainedModel, processing_class: ProcessingClass) -> _Batch:
    contents = rows.inputs(range(len(rows)))
    view = Preprocessor.of(processing_class, rows.modality, student.config)
    inputs = view(contents)
    student.eval()
    with torch.no_grad():
        outputs = FeatureReader(student).read(inputs)
    task.check_student(student, outputs, rows)
    expect(
        task.problem_type in (None, student.config.problem_type),
        "`check_student` must leave the student with the `problem_type` of the task",
    )
    labels = task.collate([task.label(rows, row, contents[row]) for row in range(len(rows))], view, inputs)
    return _Batch(rows, outputs, task.prediction(outputs), labels, task.rows_with_label(rows))


def _check_rows(task: StudentTask, dataset: datasets.Dataset, batch: _Batch) -> None:
    rows = batch.rows
    expect(0 < len(batch.with_label) < len(rows), "give some rows with a label and some without")
    expect(task.has_labels(rows), "`has_labels` must be true where `rows_with_label` names any")
    alone = task.rows_to_predict(dataset.select(range(len(rows))).remove_columns(rows.label_column), rows)
    expect(len(alone) == len(rows), "`rows_to_predict` must keep every row")
    expect(not task.has_labels(alone), "rows without a label column have no labels")
    backwards = rows.select(range(len(rows) - 1, -1, -1))
    expect(task.fingerprint(rows) == task.fingerprint(rows), "`fingerprint` must not change from call to call")
    expect(task.fingerprint(rows) != task.fingerprint(backwards), "`fingerprint` must depend on the order of rows")
    expect(task.fingerprint(rows) != task.fingerprint(alone), "`fingerprint` must depend on the labels")
    expected = [len(rows) - 1 - row for row in reversed(batch.with_label)]
    expect(task.rows_with_label(backwards) == expected, "`rows_with_label` must follow the rows")


def _check_labels(task: StudentTask, batch: _Batch) -> None:
    labels, has_label = batch.labels, torch.zeros(len(batch.rows), dtype=torch.bool)
    has_label[batch.with_label] = True
    expect(len(labels) == len(batch.rows), "`collate` must give one entry a row")
    expect(bool((task.labelled(labels) == has_label).all()), "`labelled` must agree with `rows_with_label`")
    counts = task.label_counts(labels)
    expect(bool(((counts > 0) == has_label).all()), "`label_counts` must be 0 exactly for rows without a label")
    expect(int(task.count(labels)) == int(counts.sum()), "`count` must be the sum of `label_counts`")
    row_labels, targets = task.row_labels(labels), task.targets(batch.rows)
    if task.loss_labels != "none":
        expect(
            bool(((row_labels != UNLABELLED) == has_label).all()),
            "`row_labels` must be -100 exactly for rows without a label",
        )
    expect((targets is not None) == (task.loss_labels == "numbers"), "`targets` must be there for numbers alone")
    if targets is not None:
        expect(targets.shape == (len(has_label), len(batch.rows.label_space)), "`targets` must be [rows, outputs]")
        expect(bool((targets.isnan().any(dim=1) == ~has_label).all()), "`targets` must be NaN exactly without a label")


def _check_loss(task: StudentTask, batch: _Batch) -> None:
    prediction, labels = batch.prediction.clone().requires_grad_(), batch.labels
    losses = task.row_losses(prediction, labels)
    without = ~task.labelled(labels)
    expect(losses.shape == (len(labels),) and bool(losses.isfinite().all()), "`row_losses` must be finite, one a row")
    expect(not bool(losses[without].any()), "`row_losses` must be 0 for rows without a label")
    total = task.loss_sum(prediction, labels)
    expect(
        math.isclose(float(total.detach()), float(losses.detach().sum()), rel_tol=1e-4),
        "`loss_sum` must be the sum of `row_losses`",
    )
    each = [task.row_losses(prediction[row : row + 1], labels[row : row + 1]) for row in range(len(labels))]
    expect(bool(torch.allclose(torch.cat(each), losses, rtol=1e-4, atol=1e-5)), "`row_losses` must not mix rows")
    (gradient,) = torch.autograd.grad(total, prediction)
    expect(bool(gradient.isfinite().all()), "the gradient of the task loss must be finite, also without a label")
    expect(not bool(gradient[without].any()), "rows without a label must have no gradient")
    scale = float(gradient.norm())
    expect(scale > 0, "the task loss must have a gradient")
    better = task.loss_sum(prediction.detach() - _STEP * gradient / scale, labels)
    expect(float(better) <= float(total.detach()), "a small step against the gradient must not raise the loss")
    loss = task.default_loss()
    expect(isinstance(loss, DistillationLoss), "`default_loss` must be a DistillationLoss")
    task.check_loss(loss, batch.rows)


def _check_metrics(task: StudentTask, batch: _Batch, arguments: _Arguments) -> None:
    evaluated = task.evaluated(batch.prediction, batch.labels)
    expect(len(evaluated) == len(batch.labels), "`evaluated` must keep one entry a row")
    compute = task.compute_metrics(arguments)
    metrics = _metrics(compute, evaluated, batch.labels)
    expect(bool(task.metric_names) and set(task.metric_names) <= set(metrics), "every metric of `metric_names` is due")
    for name in task.metric_names:
        value = metrics[name]
        expect(isinstance(value, float) and math.isfinite(value), f"metric {name!r} must be a finite float")
        low, high = metrics.get(f"{name}_low", value), metrics.get(f"{name}_high", value)
        expect(low <= high, f"the interval of metric {name!r} must not be empty")
    has_label = task.labelled(batch.labels)
    alone = _metrics(compute, evaluated[has_label], batch.labels[has_label])
    same = all(math.isclose(alone[name], metrics[name], rel_tol=1e-5, abs_tol=1e-8) for name in task.metric_names)
    expect(same, "rows without a label must not change the metrics")
    reliability = [
        task.reliability(EvalPrediction(rows.numpy(), labels.numpy()))
        for rows, labels in ((evaluated, batch.labels), (evaluated[has_label], batch.labels[has_label]))
    ]
    expect(reliability[0] == reliability[1], "rows without a label must not change the `reliability`")


def _metrics(
    compute: Callable[[EvalPrediction], dict[str, float]], evaluated: Tensor, labels: Tensor
) -> dict[str, float]:
    return compute(EvalPrediction(evaluated.numpy(), labels.numpy()))


def _check_description(task: StudentTask, batch: _Batch) -> None:
    modality = batch.rows.modality
    expect(bool(task.tag(modality)), "`hub_tags` must name the Hub's task tag")
    expect(callable(task.auto_class(modality).from_pretrained), "`auto_classes` must load models")
    json.dumps([task.head_settings(batch.rows.label_space), task.label_names(batch.rows)])
    words = task.words(modality)
    expect(isinstance(words, TaskWords), "`words` must be TaskWords")
    expect(bool(words.summary) and words.summary[-1] != ".", "the summary must end a sentence that the card begins")
    expect(words.limitation.endswith("."), "the limitation must be whole sentences")
    if words.example:
        expect("{model}" in words.example, "the example must open {model}")
        compile(words.example.replace("{model}", '"."'), "example", "exec")
