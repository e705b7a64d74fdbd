"""What a student is for: classification of rows."""

from hf_ctkd.training.tasks.base import Augmentation, Label, StudentTask
from hf_ctkd.training.tasks.classification import Classification, listed

__all__ = ["Augmentation", "Classification", "Label", "StudentTask", "listed"]
