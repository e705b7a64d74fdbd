"""Which task a student is for, told by its class."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

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


def task_of(student: PreTrainedModel | None, processing_class: ProcessingClass) -> StudentTask:
    """The task of a student: segmentation or depth for the models of those Auto classes, else classification.

    Args:
        student: the model; None takes it for a classifier.
        processing_class: its image processor or tokenizer.
    """
    if student is None:
        return Classification()
    config = student.config
    if _is_one_of(student, MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING):
        ignored = config.to_dict().get("semantic_loss_ignore_index")
        settings = processing_class.to_dict() if isinstance(processing_class, BaseImageProcessor) else {}
        return SemanticSegmentation(
            LabelSpace.from_id2label(config.id2label),
            ignored=_IGNORED if ignored is None else ignored,
            reduced=bool(settings.get("do_reduce_labels")),
        )
    if _is_one_of(student, MODEL_FOR_DEPTH_ESTIMATION_MAPPING):
        return DepthEstimation()
    return Classification()


def _is_one_of(student: PreTrainedModel, mapping: Mapping[type, Any]) -> bool:
    """Whether an `Auto` mapping (configuration class -> model class, or several) names the student's class."""
    found = mapping.get(type(student.config), ())
    classes = found if isinstance(found, tuple) else (found,)
    return any(isinstance(one, type) and isinstance(student, one) for one in classes)


def first_student(
    model: PreTrainedModel | None, model_init: Callable[..., PreTrainedModel] | None
) -> PreTrainedModel | None:
    """The student, or a first one of those that are to be made, to be looked at only; `model_init` as in `Trainer`."""
    if model is not None or model_init is None:
        return model
    return model_init(None) if inspect.signature(model_init).parameters else model_init()
