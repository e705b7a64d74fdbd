"""Making the student: configuration, collator, trainee and trainer."""

from hf_ctkd.training.config import DistillationConfig
from hf_ctkd.training.data import DistillationCollator, RowDataset
from hf_ctkd.training.evaluation import Accuracy, ClassificationMetrics, MacroF1, confidence
from hf_ctkd.training.trainee import Trainee
from hf_ctkd.training.trainer import DistillationTrainer

__all__ = [
    "Accuracy",
    "ClassificationMetrics",
    "DistillationCollator",
    "DistillationConfig",
    "DistillationTrainer",
    "MacroF1",
    "RowDataset",
    "Trainee",
    "confidence",
]
