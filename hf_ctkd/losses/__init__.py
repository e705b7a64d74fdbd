"""Distillation losses, one a file: how a student learns from teachers of other tasks."""

from hf_ctkd.losses.base import DistillationLoss, LossContext
from hf_ctkd.losses.projection import InvertedProjectionLoss, ProjectionLoss
from hf_ctkd.losses.readout import ReadoutLoss
from hf_ctkd.losses.transport import TransportLoss

__all__ = [
    "DistillationLoss",
    "InvertedProjectionLoss",
    "LossContext",
    "ProjectionLoss",
    "ReadoutLoss",
    "TransportLoss",
]
