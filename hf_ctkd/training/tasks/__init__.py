"""What a student is for: classification of rows, semantic segmentation or depth estimation."""

from hf_ctkd.training.tasks.base import Augmentation, Label, StudentTask
from hf_ctkd.training.tasks.choice import first_student, task_of
from hf_ctkd.training.tasks.classification import Classification, listed
from hf_ctkd.training.tasks.depth import DepthEstimation
from hf_ctkd.training.tasks.segmentation import SemanticSegmentation

__all__ = [
    "Augmentation",
    "Classification",
    "DepthEstimation",
    "Label",
    "SemanticSegmentation",
    "StudentTask",
    "first_student",
    "listed",
    "task_of",
]
