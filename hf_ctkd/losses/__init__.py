"""Distillation losses, one a file: how a student learns from teachers of other tasks."""

from hf_ctkd.losses.base import DistillationLoss, LossContext
from hf_ctkd.losses.committee import CommitteeLoss
from hf_ctkd.losses.kl import KLLoss
from hf_ctkd.losses.label_map import LabelMapLoss
from hf_ctkd.losses.projection import InvertedProjectionLoss, ProjectionLoss
from hf_ctkd.losses.raw_input import RawInputLoss
from hf_ctkd.losses.readout import ReadoutLoss
from hf_ctkd.losses.relationship import RelationshipMatchingLoss
from hf_ctkd.losses.spectral import BSSLoss, SpectralLoss
from hf_ctkd.losses.sum import WeightedSum
from hf_ctkd.losses.transport import TransportLoss

__all__ = [
    "BSSLoss",
    "CommitteeLoss",
    "DistillationLoss",
    "InvertedProjectionLoss",
    "KLLoss",
    "LabelMapLoss",
    "LossContext",
    "ProjectionLoss",
    "RawInputLoss",
    "ReadoutLoss",
    "RelationshipMatchingLoss",
    "SpectralLoss",
    "TransportLoss",
    "WeightedSum",
]
