"""What a student is trained to predict, one file a task; subclass `StudentTask` to add one."""

from hf_ctkd.tasks.base import Augmentation, Label, StudentTask, TaskArguments, listed
from hf_ctkd.tasks.choice import first_student, task_of
from hf_ctkd.tasks.classification import Classification
from hf_ctkd.tasks.depth import DepthEstimation
from hf_ctkd.tasks.evaluation import Accuracy, ClassificationMetrics, MacroF1, RowMetrics, confidence, interval
from hf_ctkd.tasks.examples import adapter_words, example_code, example_packages, timm_words
from hf_ctkd.tasks.multi_label import MultiLabelClassification
from hf_ctkd.tasks.regression import Regression
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
    "MultiLabelClassification",
    "Regression",
    "RowMetrics",
    "SemanticSegmentation",
    "example_code",
    "example_packages",
    "interval",
    "StudentTask",
    "adapter_words",
    "TaskArguments",
    "first_student",
    "listed",
    "task_of",
    "timm_words",
]
