"""What a student is for: classification of rows, semantic segmentation or depth estimation."""

from hf_ctkd.tasks.base import Augmentation, Label, StudentTask, TaskArguments, listed
from hf_ctkd.tasks.choice import first_student, task_of
from hf_ctkd.tasks.classification import Classification
from hf_ctkd.tasks.depth import DepthEstimation
from hf_ctkd.tasks.evaluation import Accuracy, ClassificationMetrics, MacroF1, confidence
from hf_ctkd.tasks.segmentation import SemanticSegmentation

__all__ = [
    "Accuracy",
    "ClassificationMetrics",
    "MacroF1",
    "confidence",
    "Augmentation",
    "Classification",
    "DepthEstimation",
    "Label",
    "SemanticSegmentation",
    "StudentTask",
    "TaskArguments",
    "first_student",
    "listed",
    "task_of",
]
