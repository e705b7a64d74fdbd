"""How teacher classes and target classes go together: label-space costs, and target classes read out of features."""

from hf_ctkd.costs.base import LabelCost
from hf_ctkd.costs.empirical import EmpiricalCost
from hf_ctkd.costs.joint import joint, relatedness, shared_information
from hf_ctkd.costs.layered import LayeredReadout, gain_shares, log_mean, posterior_gain, read_layers, views
from hf_ctkd.costs.prior import ClassPrior, estimate_prior, refine_prior
from hf_ctkd.costs.prototype import PrototypeCost
from hf_ctkd.costs.readout import FittedReadout, Readout
from hf_ctkd.costs.row_transport import RowTransport, transport_rows
from hf_ctkd.costs.semantic import SemanticCost
from hf_ctkd.costs.shared import SharedCost, Specification

__all__ = [
    "ClassPrior",
    "EmpiricalCost",
    "FittedReadout",
    "LabelCost",
    "PrototypeCost",
    "LayeredReadout",
    "Readout",
    "RowTransport",
    "SemanticCost",
    "SharedCost",
    "Specification",
    "estimate_prior",
    "gain_shares",
    "joint",
    "log_mean",
    "posterior_gain",
    "read_layers",
    "refine_prior",
    "relatedness",
    "shared_information",
    "transport_rows",
    "views",
]
