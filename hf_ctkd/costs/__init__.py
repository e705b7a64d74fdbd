"""Label-space costs: how teacher classes and target classes go together."""

from hf_ctkd.costs.base import LabelCost
from hf_ctkd.costs.empirical import EmpiricalCost
from hf_ctkd.costs.joint import joint, relatedness
from hf_ctkd.costs.prototype import PrototypeCost
from hf_ctkd.costs.semantic import SemanticCost
from hf_ctkd.costs.shared import SharedCost, Specification

__all__ = [
    "EmpiricalCost",
    "LabelCost",
    "PrototypeCost",
    "SemanticCost",
    "SharedCost",
    "Specification",
    "joint",
    "relatedness",
]
