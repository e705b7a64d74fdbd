"""The methods that the SCTD scripts compare; not run by itself."""

from hf_ctkd.costs import EmpiricalCost, PrototypeCost
from hf_ctkd.losses import RelationshipMatchingLoss, TransportLoss

METHODS = {
    # The loss as the paper has it: no weight for how related the teacher is.
    "transport, empirical cost, unweighted": lambda: TransportLoss(EmpiricalCost(), power=0.0),
    "transport, prototype cost, unweighted": lambda: TransportLoss(PrototypeCost(), power=0.0),
    "transport, empirical cost": lambda: TransportLoss(EmpiricalCost()),
    "transport, prototype cost": lambda: TransportLoss(PrototypeCost()),
    "transport, default": TransportLoss,
    "relationship matching": RelationshipMatchingLoss,
}
