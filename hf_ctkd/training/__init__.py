"""Training a student: configuration, collator, student with loss, and trainer."""

from hf_ctkd.training.collator import DistillationCollator, RowDataset
from hf_ctkd.training.config import DistillationConfig
from hf_ctkd.training.soft_targets import soft_targets
from hf_ctkd.training.student_with_loss import StudentWithLoss
from hf_ctkd.training.trainer import DistillationTrainer

__all__ = [
    "DistillationCollator",
    "DistillationConfig",
    "DistillationTrainer",
    "RowDataset",
    "StudentWithLoss",
    "soft_targets",
]
