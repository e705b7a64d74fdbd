"""The methods that the SCTD scripts compare; this module is no script."""

from hf_ctkd.costs import EmpiricalCost, PrototypeCost
from hf_ctkd.losses import LabelTransportLoss, RelationshipMatchingLoss, RowTransportLoss

METHODS = {
    # As in the paper: not weighted by how related the teacher is.
    "transport, empirical cost, unweighted": lambda: LabelTransportLoss(EmpiricalCost(), gain_exponent=0.0),
    "transport, prototype cost, unweighted": lambda: LabelTransportLoss(PrototypeCost(), gain_exponent=0.0),
    "transport, empirical cost": lambda: LabelTransportLoss(EmpiricalCost()),
    "transport, prototype cost": lambda: LabelTransportLoss(PrototypeCost()),
    "transport, default": RowTransportLoss,
    "relationship matching": RelationshipMatchingLoss,
}
