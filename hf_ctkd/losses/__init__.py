"""Distillation losses, one a file: how a student learns from teachers of other tasks."""

from hf_ctkd.losses.aft import AFTLoss
from hf_ctkd.losses.b_tuning import BTuningLoss
from hf_ctkd.losses.base import DistillationLoss
from hf_ctkd.losses.committee import CommitteeLoss
from hf_ctkd.losses.kl import KLLoss
from hf_ctkd.losses.label_map import LabelMapLoss
from hf_ctkd.losses.label_transport import LabelTransportLoss
from hf_ctkd.losses.probe import ProbeLoss
from hf_ctkd.losses.projection import InvertedProjectionLoss, ProjectionLoss
from hf_ctkd.losses.regression_probe import RegressionProbeLoss
from hf_ctkd.losses.relationship import RelationshipMatchingLoss
from hf_ctkd.losses.row_transport import RowTransportLoss
from hf_ctkd.losses.spectral import BSSLoss, SpectralLoss
from hf_ctkd.losses.teacher_free import TeacherFreeLoss
from hf_ctkd.losses.weighted_sum import WeightedSum
from hf_ctkd.types import LossContext

__all__ = [
    "AFTLoss",
    "BSSLoss",
    "BTuningLoss",
    "CommitteeLoss",
    "DistillationLoss",
    "InvertedProjectionLoss",
    "KLLoss",
    "LabelMapLoss",
    "LabelTransportLoss",
    "LossContext",
    "ProbeLoss",
    "ProjectionLoss",
    "RegressionProbeLoss",
    "RelationshipMatchingLoss",
    "RowTransportLoss",
    "SpectralLoss",
    "TeacherFreeLoss",
    "WeightedSum",
]
