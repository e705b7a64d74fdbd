"""Which task a student is for, found from its class and from the labels of the data set."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import datasets
from datasets import ClassLabel, Features, LargeList, List, Value
from torch import nn
from transformers import (
    MODEL_FOR_DEPTH_ESTIMATION_MAPPING,
    MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING,
    BaseImageProcessor,
    PreTrainedModel,
)

from hf_ctkd.data import ProcessingClass
from hf_ctkd.tasks.base import StudentTask
from hf_ctkd.tasks.classification import Classification
from hf_ctkd.tasks.depth import DepthEstimation
from hf_ctkd.tasks.multi_label import MultiLabelClassification
from hf_ctkd.tasks.regression import Regression
from hf_ctkd.tasks.segmentation import SemanticSegmentation
from hf_ctkd.types import LabelSpace

_IGNORED = 255


def task_of(
    student: PreTrainedModel | None,
    processing_class: ProcessingClass | None = None,
    dataset: datasets.Dataset | None = None,
    *,
    label_column: str | None = None,
) -> StudentTask:
    """The task of a student: segmentation or depth for the models of those Auto classes, else by its labels.

    Args:
        student: the model; None for one that is yet to be loaded and has a head for rows.
        processing_class: its image processor or tokenizer.
        dataset: a split of the data set.
        label_column: column of labels; found by its usual name when None.
    """
    if student is not None and _is_one_of(student, MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING):
        ignored = student.config.to_dict().get("semantic_loss_ignore_index")
        settings = processing_class.to_dict() if isinstance(processing_class, BaseImageProcessor) else {}
        return SemanticSegmentation(
            LabelSpace.from_id2label(student.config.id2label),
            ignored=_IGNORED if ignored is None else ignored,
            reduced=bool(settings.get("do_reduce_labels")),
        )
    if student is not None and _is_one_of(student, MODEL_FOR_DEPTH_ESTIMATION_MAPPING):
        return DepthEstimation()
    return _task_of_rows(student, None if dataset is None else _label_feature(dataset.features, label_column))


def _task_of_rows(student: PreTrainedModel | None, feature: object) -> StudentTask:
    """The task of a student with a head for rows, by the type of its labels, or by its configuration without any."""
    problem, outputs = ("", 1) if student is None else (student.config.problem_type, student.config.num_labels)
    if isinstance(feature, List | LargeList) or (feature is None and problem == "multi_label_classification"):
        return MultiLabelClassification(None if student is None else LabelSpace.from_id2label(student.config.id2label))
    numbers = isinstance(feature, Value) and "float" in feature.dtype
    # Whole numbers are class ids, unless the student says that it estimates them, as one with a single output can.
    if (numbers and outputs == 1) or (problem == "regression" and outputs == 1 and not isinstance(feature, ClassLabel)):
        return Regression()
    return Classification()


def _label_feature(features: Features, column: str | None) -> object:
    """The type of the label column; None where it has no usual name."""
    classes = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    usual = (*MultiLabelClassification.label_columns, *Regression.label_columns)
    names = [column] if column is not None else [*classes, *(name for name in usual if name in features)]
    return features.get(names[0]) if names else None


def _is_one_of(student: PreTrainedModel, mapping: Mapping[type, Any]) -> bool:
    """Whether an `Auto` mapping (configuration class -> model class, or several) names the student's class."""
    models = mapping.get(type(student.config), ())
    classes = models if isinstance(models, tuple) else (models,)
    return any(isinstance(model, type) and isinstance(student, model) for model in classes)


Model = TypeVar("Model", bound=nn.Module)


def first_student(model: Model | None, model_init: Callable[..., Model] | None) -> Model | None:
    """The student, or a first one of those that are to be made, to be looked at only; `model_init` as in `Trainer`."""
    if model is not None or model_init is None:
        return model
    return model_init(None) if inspect.signature(model_init).parameters else model_init()
