"""Which task a student is for, found from its class and from the labels of the data set."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import datasets
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
    return Classification()


def _is_one_of(student: PreTrainedModel, mapping: Mapping[type, Any]) -> bool:
    """Whether an `Auto` mapping (configuration class -> model class, or several) names the student's class."""
    models = mapping.get(type(student.config), ())
    classes = models if isinstance(models, tuple) else (models,)
    return any(isinstance(model, type) and isinstance(student, model) for model in classes)


def first_student(
    model: PreTrainedModel | None, model_init: Callable[..., PreTrainedModel] | None
) -> PreTrainedModel | None:
    """The student, or a first one of those that are to be made, to be looked at only; `model_init` as in `Trainer`."""
    if model is not None or model_init is None:
        return model
    return model_init(None) if inspect.signature(model_init).parameters else model_init()
