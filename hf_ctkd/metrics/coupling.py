"""A coupling of rows of the teacher's own task with target rows, which F-OTCE and OTCE read."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.ot import CloudProblem, CloudSinkhorn, CloudSolution
from hf_ctkd.probes.labelled import labelled_rows
from hf_ctkd.types import ModelOutputs


@dataclass(frozen=True, eq=False)
class SourceCoupling:
    """Couples rows of the teacher's own task with target rows by their features.

    Args:
        source: outputs of the teacher over rows of its own task.
        source_labels: labels of these rows; rows with -100 are ignored.
        solver: of the transport.

    Raises:
        InvalidArgumentError: if `source` and `source_labels` differ in rows, or `source` is not finite.
        DatasetError: if no source row is labelled.
    """

    source: ModelOutputs
    source_labels: Int[Tensor, " source_rows"]
    solver: CloudSinkhorn

    def __post_init__(self) -> None:
        labelled_rows(self.source, self.source_labels)

    def solve(self, outputs: ModelOutputs) -> CloudSolution:
        """The entropic plan from source rows to target rows, at squared Euclidean cost of the features.

        Args:
            outputs: of the same teacher over target rows.

        Raises:
            InvalidArgumentError: if the features differ in width.
            NotConvergedError: if the transport missed its tolerance.
        """
        known, _ = labelled_rows(self.source, self.source_labels)
        if known.features.shape[1] != outputs.features.shape[1]:
            raise InvalidArgumentError(
                f"`source` must come from the teacher that is scored, but its features are {known.features.shape[1]} "
                f"wide instead of {outputs.features.shape[1]}. Compute it with the same teacher."
            )
        return self.solver.solve(CloudProblem(known.features.double(), outputs.features))

    def conditional_entropy(self, solution: CloudSolution, labels: Int[Tensor, " rows"]) -> float:
        """Entropy, in nats, of the target's label given the source's under the coupling.

        Args:
            solution: of `solve`.
            labels: of the target rows, from 0 on.
        """
        _, chosen = labelled_rows(self.source, self.source_labels)
        joint = solution.pooled(_one_hot(chosen), _one_hot(labels))
        joint = joint / joint.sum()
        conditional = joint / joint.sum(dim=1, keepdim=True).clamp_min(1e-300)
        return -float(torch.special.xlogy(joint, conditional).sum())


def _one_hot(labels: Int[Tensor, " rows"]) -> Float[Tensor, "rows classes"]:
    return torch.nn.functional.one_hot(labels).double()
