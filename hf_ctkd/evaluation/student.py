"""A student on labelled rows: metrics, errors, calibration and speed, beside its teacher and a baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import datasets
import numpy as np
import torch
from accelerate import Accelerator
from datasets import Features
from jaxtyping import Float
from numpy import ndarray
from PIL import Image as PILImage
from sklearn.metrics import confusion_matrix
from transformers import EvalPrediction
from transformers.utils.logging import get_logger

from hf_ctkd.data import RowInput, TargetRows
from hf_ctkd.data.rows import require_rows
from hf_ctkd.errors import DatasetError
from hf_ctkd.evaluation.calibration import calibrate
from hf_ctkd.evaluation.columns import trained_columns
from hf_ctkd.evaluation.decisions import Decisions, label_texts
from hf_ctkd.evaluation.gain import gain_over
from hf_ctkd.evaluation.models import TrainedModel, matching, modality_of
from hf_ctkd.evaluation.result import ConfusedPair, Evaluation, ModelResult, WrongRow
from hf_ctkd.evaluation.settings import EvaluationSettings
from hf_ctkd.records import Confidence, last_name
from hf_ctkd.tasks import Classification, MultiLabelClassification, Regression, StudentTask, listed
from hf_ctkd.tasks.base import ProblemType
from hf_ctkd.tasks.evaluation import as_confidences
from hf_ctkd.teachers import LoadOptions
from hf_ctkd.types import LabelSpace

logger = get_logger(__name__)

MOST_WRONG = 20
_EXCERPT = 80


def evaluate_student(
    student: str | Path,
    dataset: datasets.Dataset,
    *,
    teacher: str | Path | None = None,
    baseline: str | Path | None = None,
    settings: EvaluationSettings | None = None,
    options: LoadOptions = LoadOptions(),  # noqa: B008 (frozen)
) -> Evaluation:
    """How good a saved student is on labelled rows, where it errs, whether to trust its probabilities, how fast it is.

    Use it for a student that is finished, from any trainer, on rows that it was not trained on. During training
    `DistillationTrainer.evaluate` gives the metrics. Classes of the data and of the models are compared by name. A
    temperature is fitted to one half of the rows and judged on the other.

    Args:
        student: folder or id on the Hub, with a head for one class a row, several, or a number.
        dataset: one split with raw images or texts, and labels.
        teacher: a model to compare with; of one with other classes only size and speed are reported.
        baseline: a model to compare with, such as the same student trained without a teacher.
        settings: columns, metrics, resamples, seed and batch size; the usual ones when None.
        options: how to fetch and load models: safetensors only and no remote code unless they say so.

    Raises:
        InvalidArgumentError: a model that cannot be loaded or has no head, or a metric that does not exist.
        DatasetError: rows that cannot be read, have no label, or classes that the student does not know.

    Example:
        >>> evaluation = evaluate_student(  # doctest: +SKIP
        ...     "image-student", flowers["test"], baseline="image-student/without_distillation"
        ... )
        >>> print(evaluation.metrics["accuracy"])  # doctest: +SKIP
        Confidence(value=0.912, low=0.903, high=0.921, level=0.95)
        >>> evaluation.save("evaluation")  # doctest: +SKIP
    """
    require_rows(dataset)
    settings = _with_columns(EvaluationSettings() if settings is None else settings, student, dataset.features, options)
    accelerator = Accelerator()
    modality = modality_of(dataset.features, settings.input_column)

    def load(name: str | Path, argument: str) -> TrainedModel:
        return TrainedModel(name, modality, argument, accelerator=accelerator, options=options)

    model = load(student, "student")
    others = [load(name, role) for role, name in (("teacher", teacher), ("baseline", baseline)) if name is not None]
    task = _task(model)
    rows, labels = _labelled_rows(task, model.label_space, dataset, settings)
    logits = model.logits(rows, batch_size=settings.batch_size)
    judged = _Judged(task, model.problem, labels, logits, settings)
    results = [_result(model, rows, settings, judged.metrics(logits), {})]
    results += [_compared(other, model, rows, judged) for other in others]
    confusion = judged.confusion(len(model.label_space))
    return Evaluation(
        dataset=last_name(str(dataset.info.dataset_name or "the data set")),
        split=str(dataset.split or ""),
        rows=len(rows),
        labels=model.label_space.names,
        device=str(accelerator.device),
        models=tuple(results),
        confused=() if confusion is None else _confused(confusion, model.label_space.names),
        wrong=judged.wrong(rows, model.label_space.names),
        calibration=None if model.problem == "regression" else calibrate(logits, labels, seed=settings.seed),
        confusion=confusion,
    )


def _with_columns(
    settings: EvaluationSettings, student: str | Path, features: Features, options: LoadOptions
) -> EvaluationSettings:
    """The columns that are not named are those of the student's training rows, where its record names them."""
    if settings.input_column is not None and settings.label_column is not None:
        return settings
    trained = trained_columns(student, token=options.token)
    if trained is None:
        return settings
    inputs, label = settings.input_column, settings.label_column
    return replace(
        settings,
        input_column=list(trained.inputs_in(features)) if inputs is None else inputs,
        label_column=trained.label_in(features) if label is None else label,
    )


@dataclass(frozen=True, eq=False)
class _Judged:
    """The student's logits on the labelled rows, compared with their labels."""

    task: StudentTask
    problem: ProblemType
    labels: ndarray
    logits: Float[ndarray, "rows classes"]
    settings: EvaluationSettings

    def metrics(self, logits: Float[ndarray, "rows classes"]) -> Mapping[str, Confidence]:
        """Of any model with the student's classes."""
        return as_confidences(self.task.compute_metrics(self.settings)(EvalPrediction(logits, self.labels)))

    def confusion(self, classes: int) -> ndarray | None:
        """Rows by their class and the student's; None unless a row has one class."""
        if self.problem != "single_label_classification":
            return None
        return confusion_matrix(self.labels, self.logits.argmax(axis=1), labels=range(classes))

    def wrong(self, rows: TargetRows, names: Sequence[str]) -> tuple[WrongRow, ...]:
        """Rows with the largest task loss among those that the student has wrong; of numbers all are."""
        losses = self.task.row_losses(torch.from_numpy(self.logits), torch.from_numpy(self.labels)).numpy()
        decisions, labels = (
            Decisions.of(self.logits, self.problem, names),
            label_texts(self.labels, self.problem, names),
        )
        order = [
            number
            for number in np.argsort(-losses, kind="stable").tolist()
            if self.problem == "regression" or decisions.labels[number] != labels[number]
        ][:MOST_WRONG]
        contents = [rows.file(number) or _excerpt(rows.inputs([number])[0]) for number in order]
        return tuple(
            WrongRow(
                int(rows.origin[number]),
                labels[number],
                decisions.labels[number],
                float(decisions.scores[number]),
                float(losses[number]),
                content,
            )
            for number, content in zip(order, contents, strict=True)
        )


def _compared(other: TrainedModel, student: TrainedModel, rows: TargetRows, judged: _Judged) -> ModelResult:
    """Another model on the same rows; without metrics where it has other classes, which a line of the log says."""
    columns = other.columns_of(student.label_space) if other.problem == student.problem else None
    if columns is None:
        logger.warning(f"{other.name} has other classes than the student: only its size and speed are reported.")
        return _result(other, rows, judged.settings, {}, {})
    logits = other.logits(rows, batch_size=judged.settings.batch_size)[:, columns]
    gain = gain_over(judged.task, judged.labels, judged.logits, logits, judged.settings)
    return _result(other, rows, judged.settings, judged.metrics(logits), gain)


def _task(model: TrainedModel) -> StudentTask:
    if model.problem == "regression":
        return Regression()
    return (
        MultiLabelClassification(model.label_space)
        if model.problem == "multi_label_classification"
        else Classification()
    )


def _labelled_rows(
    task: StudentTask, space: LabelSpace, dataset: datasets.Dataset, settings: EvaluationSettings
) -> tuple[TargetRows, ndarray]:
    """The rows that have a label, and their labels in the student's classes."""
    rows = _rows(task, space, dataset, settings)
    numbers = task.rows_with_label(rows)
    if not numbers:
        raise DatasetError(f"`dataset` must have labelled rows, but `{rows.label_column}` is empty. Name other rows.")
    if len(numbers) < len(rows):
        logger.warning(f"{len(rows) - len(numbers)} of {len(rows)} rows have no label and are left out.")
    rows = rows.select(numbers)
    labels = np.array([task.label(rows, number) for number in range(len(rows))])
    return rows, _in_classes_of(task, space, rows, labels)


def _rows(task: StudentTask, space: LabelSpace, dataset: datasets.Dataset, settings: EvaluationSettings) -> TargetRows:
    if not isinstance(task, Classification):
        return task.rows(dataset, settings, evaluation=True)
    return TargetRows.of(
        dataset,
        input_column=settings.input_column,
        label_column=settings.label_column,
        skip_bad_rows=settings.skip_bad_rows,
        evaluation=True,
        label_space=space,  # values of a column without declared classes are looked up among the student's
    )


def _in_classes_of(task: StudentTask, space: LabelSpace, rows: TargetRows, labels: ndarray) -> ndarray:
    """Labels by the student's classes; a class that it does not know is refused.

    Raises:
        DatasetError: naming the classes of both.
    """
    data = rows.label_space
    if isinstance(task, Regression):
        if len(space) != 1:
            raise DatasetError(f"`{rows.label_column}` holds one number a row, but the student estimates {len(space)}.")
        return labels
    if isinstance(task, MultiLabelClassification):
        columns = matching(data, space)
        if columns is None:
            raise _other_classes(rows, space)
        return labels[:, columns]
    if not (data.informative and space.informative):
        if len(data) != len(space):
            raise _other_classes(rows, space)
        return labels
    if not set(data.names) <= set(space.names):
        raise _other_classes(rows, space)
    absent = len(space) - len(data)
    if absent:
        subject = "1 class of the student is" if absent == 1 else f"{absent} classes of the student are"
        logger.warning(f"{subject} not among those of the data.")
    return np.array([space.names.index(name) for name in data.names])[labels]


def _other_classes(rows: TargetRows, space: LabelSpace) -> DatasetError:
    return DatasetError(
        f"The classes of `{rows.label_column}` are {listed(rows.label_space)}, those of the student {listed(space)}. "
        "Name rows of the student's task, or rename the classes."
    )


def _result(
    model: TrainedModel,
    rows: TargetRows,
    settings: EvaluationSettings,
    metrics: Mapping[str, Confidence],
    gain: Mapping[str, Confidence],
) -> ModelResult:
    return ModelResult(
        name=model.name,
        role=model.argument,
        parameters=model.parameters,
        metrics=metrics,
        gain=gain,
        milliseconds_a_row=1000 / model.speed(rows, 1),
        rows_per_second=model.speed(rows, settings.batch_size),
    )


def _confused(confusion: ndarray, names: Sequence[str]) -> tuple[ConfusedPair, ...]:
    """Every pair of classes with an error, most rows first."""
    totals = confusion.sum(axis=1)
    errors = confusion - np.diag(np.diag(confusion))
    pairs = [(int(row), int(column)) for row, column in zip(*np.nonzero(errors), strict=True)]
    pairs.sort(key=lambda pair: -int(errors[pair]))
    return tuple(
        ConfusedPair(names[row], names[column], int(errors[row, column]), float(errors[row, column] / totals[row]))
        for row, column in pairs
    )


def _excerpt(content: RowInput) -> str | None:
    """How a text begins, on one line."""
    if isinstance(content, PILImage.Image):
        return None
    line = " ".join((content if isinstance(content, str) else " | ".join(content)).split())
    return line if len(line) <= _EXCERPT else f"{line[: _EXCERPT - 1]}…"
