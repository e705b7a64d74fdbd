"""How much better a student is than another model, with intervals over the rows that both were judged on."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from jaxtyping import Shaped
from numpy import ndarray
from transformers import EvalPrediction

from hf_ctkd.evaluation.settings import EvaluationSettings
from hf_ctkd.records import Confidence
from hf_ctkd.tasks import Classification, StudentTask, interval
from hf_ctkd.tasks.evaluation import RowStatistic, class_statistic


def gain_over(
    task: StudentTask,
    labels: Shaped[ndarray, "rows ..."],
    predictions: Shaped[ndarray, "rows ..."],
    others: Shaped[ndarray, "rows ..."],
    settings: EvaluationSettings,
) -> Mapping[str, Confidence]:
    """The student's metrics minus those of another model, both computed on the same resampled rows.

    Use it instead of comparing two intervals: rows that are hard are so for both models, and cancel. It computes each
    metric twice a resample, which takes minutes for students that say something of every pixel. Where both models do
    alike on every row, the interval is 0 to 0.

    Args:
        task: what the student is for.
        labels: of the rows; those without a label are left out.
        predictions: of the student for the same rows, logits as `DistillationTrainer.predict` gives them.
        others: of the other model.
        settings: names of the metrics, resamples and seed.

    Example:
        >>> import numpy as np
        >>> labels, better = np.array([0, 1, 0, 1] * 25), np.eye(2)[[0, 1, 0, 1] * 25]
        >>> worse = np.eye(2)[[0, 1, 1, 1] * 25]
        >>> settings = EvaluationSettings(metrics=["accuracy"])
        >>> gain_over(Classification(), labels, better, worse, settings)["accuracy"].text(sign=True)
        '+0.250 [+0.160, +0.330]'
    """
    labelled = task.labelled(torch.from_numpy(labels)).numpy()
    labels, predictions, others = labels[labelled], predictions[labelled], others[labelled]
    if isinstance(task, Classification):  # whose metrics read class ids
        predictions, others = predictions.argmax(axis=1), others.argmax(axis=1)
    names = settings.metrics or task.metric_names
    return {name: _gain(_metric(task, name, settings), labels, predictions, others, settings) for name in names}


def _metric(task: StudentTask, name: str, settings: EvaluationSettings) -> RowStatistic:
    if isinstance(task, Classification):
        return class_statistic(name)
    compute = task.compute_metrics(replace(settings, metrics=[name], bootstrap_resamples=0))
    return RowStatistic(lambda labels, predictions: compute(EvalPrediction(predictions, labels))[name])


def _gain(
    metric: RowStatistic,
    labels: Shaped[ndarray, "labelled ..."],
    predictions: Shaped[ndarray, "labelled ..."],
    others: Shaped[ndarray, "labelled ..."],
    settings: EvaluationSettings,
) -> Confidence:
    def difference(labels: ndarray, left: ndarray, right: ndarray) -> float:
        return metric.compute(labels, left) - metric.compute(labels, right)

    arrays = (labels, predictions, others)
    resamples = min(settings.bootstrap_resamples, metric.most_resamples)
    value = difference(*arrays)
    if not resamples:
        return Confidence(value)
    ends = interval(difference, arrays, resamples=resamples, seed=settings.seed)
    if ends is None and value == 0:
        ends = 0.0, 0.0  # see `Confidence.always_zero`
    return Confidence(value, *(ends or ()))
