"""A coupling of rows of the teacher's own task with target rows, which F-OTCE and OTCE read."""

from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.costs.labelled import labelled_rows
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.metrics.base import TransferabilityMetric
from hf_ctkd.ot import CloudProblem, CloudSinkhorn, CloudSolution
from hf_ctkd.types import ModelOutputs, Needs


@dataclass(frozen=True, eq=False)
class CoupledWithSource(TransferabilityMetric):
    """What the two share: rows of the teacher's own task, and their coupling with target rows by their features."""

    source: ModelOutputs
    source_labels: Int[Tensor, " source_rows"]
    _: KW_ONLY
    solver: CloudSinkhorn = field(default_factory=CloudSinkhorn)

    needs: ClassVar[Needs] = Needs.FEATURES

    def __post_init__(self) -> None:
        labelled_rows(self.source, self.source_labels)

    def coupling(self, outputs: ModelOutputs) -> CloudSolution:
        """The entropic plan from source rows to target rows, at squared Euclidean cost of the features."""
        known, _ = labelled_rows(self.source, self.source_labels)
        if known.features.shape[1] != outputs.features.shape[1]:
            raise InvalidArgumentError(
                f"`source` must come from the teacher that is scored, but its features are {known.features.shape[1]} "
                f"wide instead of {outputs.features.shape[1]}. Compute it with the same teacher."
            )
        return self.solver.solve(CloudProblem(known.features.double(), outputs.features))

    def conditional_entropy(self, solution: CloudSolution, labels: Int[Tensor, " rows"]) -> float:
        """Entropy, in nats, of the target's label given the source's under the coupling."""
        _, chosen = labelled_rows(self.source, self.source_labels)
        joint = solution.pooled(_one_hot(chosen), _one_hot(labels))
        joint = joint / joint.sum()
        conditional = joint / joint.sum(dim=1, keepdim=True).clamp_min(1e-300)
        return -float(torch.special.xlogy(joint, conditional).sum())


def _one_hot(labels: Int[Tensor, " rows"]) -> Float[Tensor, "rows classes"]:
    return torch.nn.functional.one_hot(labels).double()
