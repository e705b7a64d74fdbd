"""Selective cross-task knowledge distillation for the Hugging Face ecosystem.

Public names are imported on first use: `import hf_ctkd` and `hf-ctkd --help` load neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from hf_ctkd._version import __version__

_DEFINED_IN = {
    "AFTLoss": "hf_ctkd.losses",
    "BSSLoss": "hf_ctkd.losses",
    "BTuningLoss": "hf_ctkd.losses",
    "CommitteeLoss": "hf_ctkd.losses",
    "DistillationConfig": "hf_ctkd.training",
    "DistillationLoss": "hf_ctkd.losses",
    "DistillationRecord": "hf_ctkd.records",
    "DistillationTrainer": "hf_ctkd.training",
    "EmpiricalCost": "hf_ctkd.costs",
    "GenericTeacherConfig": "hf_ctkd.generic",
    "GenericTeacherTrainer": "hf_ctkd.generic",
    "HubSearch": "hf_ctkd.hub",
    "InvertedProjectionLoss": "hf_ctkd.losses",
    "KLLoss": "hf_ctkd.losses",
    "LabelMapLoss": "hf_ctkd.losses",
    "LabelSpace": "hf_ctkd.types",
    "LabelTransportLoss": "hf_ctkd.losses",
    "LinearProbe": "hf_ctkd.probes",
    "LoadOptions": "hf_ctkd.teachers",
    "ModelOutputs": "hf_ctkd.types",
    "Needs": "hf_ctkd.types",
    "OTProblem": "hf_ctkd.ot",
    "OTSolution": "hf_ctkd.ot",
    "ProbeLoss": "hf_ctkd.losses",
    "ProjectionLoss": "hf_ctkd.losses",
    "PrototypeCost": "hf_ctkd.costs",
    "RegressionProbeLoss": "hf_ctkd.losses",
    "RelationshipMatchingLoss": "hf_ctkd.losses",
    "RowTransportLoss": "hf_ctkd.losses",
    "SemanticCost": "hf_ctkd.costs",
    "SharedCost": "hf_ctkd.costs",
    "Sinkhorn": "hf_ctkd.ot",
    "SpectralLoss": "hf_ctkd.losses",
    "StudentPool": "hf_ctkd.generic",
    "StudentTask": "hf_ctkd.tasks",
    "Supernet": "hf_ctkd.generic",
    "TeacherCandidate": "hf_ctkd.records",
    "TeacherFreeLoss": "hf_ctkd.losses",
    "TeacherIndex": "hf_ctkd.index",
    "TeacherRanking": "hf_ctkd.records",
    "TeacherSelector": "hf_ctkd.selection",
    "TransferabilityMetric": "hf_ctkd.metrics",
    "WeightedSum": "hf_ctkd.losses",
    "evaluate_student": "hf_ctkd.evaluation",
    "folder_teachers": "hf_ctkd.hub",
    "hub_teachers": "hf_ctkd.hub",
    "publish": "hf_ctkd.cards",
    "random_like": "hf_ctkd.hub",
    "soft_targets": "hf_ctkd.training",
}

# A literal, since type checkers compute nothing: a name that is not in it is not exported to strict users.
__all__ = [
    "__version__",
    "AFTLoss",
    "BSSLoss",
    "BTuningLoss",
    "CommitteeLoss",
    "DistillationConfig",
    "DistillationLoss",
    "DistillationRecord",
    "DistillationTrainer",
    "EmpiricalCost",
    "GenericTeacherConfig",
    "GenericTeacherTrainer",
    "HubSearch",
    "InvertedProjectionLoss",
    "KLLoss",
    "LabelMapLoss",
    "LabelSpace",
    "LabelTransportLoss",
    "LinearProbe",
    "LoadOptions",
    "ModelOutputs",
    "Needs",
    "OTProblem",
    "OTSolution",
    "ProbeLoss",
    "ProjectionLoss",
    "PrototypeCost",
    "RegressionProbeLoss",
    "RelationshipMatchingLoss",
    "RowTransportLoss",
    "SemanticCost",
    "SharedCost",
    "Sinkhorn",
    "SpectralLoss",
    "StudentPool",
    "StudentTask",
    "Supernet",
    "TeacherCandidate",
    "TeacherFreeLoss",
    "TeacherIndex",
    "TeacherRanking",
    "TeacherSelector",
    "TransferabilityMetric",
    "WeightedSum",
    "evaluate_student",
    "folder_teachers",
    "hub_teachers",
    "publish",
    "random_like",
    "soft_targets",
]

if TYPE_CHECKING:
    from hf_ctkd.cards import publish
    from hf_ctkd.costs import EmpiricalCost, PrototypeCost, SemanticCost, SharedCost
    from hf_ctkd.evaluation import evaluate_student
    from hf_ctkd.generic import GenericTeacherConfig, GenericTeacherTrainer, StudentPool, Supernet
    from hf_ctkd.hub import HubSearch, folder_teachers, hub_teachers, random_like
    from hf_ctkd.index import TeacherIndex
    from hf_ctkd.losses import (
        AFTLoss,
        BSSLoss,
        BTuningLoss,
        CommitteeLoss,
        DistillationLoss,
        InvertedProjectionLoss,
        KLLoss,
        LabelMapLoss,
        LabelTransportLoss,
        ProbeLoss,
        ProjectionLoss,
        RegressionProbeLoss,
        RelationshipMatchingLoss,
        RowTransportLoss,
        SpectralLoss,
        TeacherFreeLoss,
        WeightedSum,
    )
    from hf_ctkd.metrics import TransferabilityMetric
    from hf_ctkd.ot import OTProblem, OTSolution, Sinkhorn
    from hf_ctkd.probes import LinearProbe
    from hf_ctkd.records import DistillationRecord, TeacherCandidate, TeacherRanking
    from hf_ctkd.selection import TeacherSelector
    from hf_ctkd.tasks import StudentTask
    from hf_ctkd.teachers import LoadOptions
    from hf_ctkd.training import DistillationConfig, DistillationTrainer, soft_targets
    from hf_ctkd.types import LabelSpace, ModelOutputs, Needs


def __getattr__(name: str) -> object:
    if name not in _DEFINED_IN:
        raise AttributeError(f"module 'hf_ctkd' has no attribute {name!r}")
    value = vars(import_module(_DEFINED_IN[name]))[name]
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
