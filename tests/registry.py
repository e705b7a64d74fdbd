"""Every public loss and metric with the arguments that it needs: a new one is in it without a line here, or fails."""

from hf_ctkd import losses, metrics
from hf_ctkd.costs import EmpiricalCost, PrototypeCost
from hf_ctkd.losses import DistillationLoss
from hf_ctkd.metrics import TransferabilityMetric
from hf_ctkd.testing.metrics import example


def _public(module, base):
    public = {name: getattr(module, name) for name in module.__all__ if name != "LossContext"}
    return {name: kind for name, kind in public.items() if issubclass(kind, base) and kind is not base}


LOSSES = {
    **_public(losses, DistillationLoss),
    "WeightedSum": lambda: losses.WeightedSum({losses.KLLoss(): 0.5, losses.ProjectionLoss(): 2.0}),
    "WeightedSum of targets": lambda: losses.WeightedSum({losses.RowTransportLoss(): 0.5, losses.ProbeLoss(): 2.0}),
    "ProjectionLoss of layers": lambda: losses.ProjectionLoss(layers=((0, 0), (-1, -1))),
    "LabelTransportLoss, sharp": lambda: losses.LabelTransportLoss(EmpiricalCost(), epsilon=0.05),
    "RelationshipMatchingLoss, second phase": lambda: losses.RelationshipMatchingLoss(0.0),
    "CommitteeLoss, top 1": lambda: losses.CommitteeLoss(top_k=1),
}
"""How to make each, by a name."""


def _of_source(kind, **arguments):
    source, labels = example(2.0, seed=5)
    return lambda: kind(source, labels, **arguments)


METRICS = {
    **_public(metrics, TransferabilityMetric),
    "TransportScore": lambda: metrics.TransportScore(PrototypeCost()),
    "FOTCE": _of_source(metrics.FOTCE),
    "OTCE": _of_source(metrics.OTCE, domain_weight=0.1, task_weight=1.0),
}
"""How to make each, by a name."""
