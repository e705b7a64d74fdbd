"""F-OTCE: what is left unknown of the target's labels once source rows are coupled with target rows."""

from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.metrics.base import TransferabilityMetric
from hf_ctkd.ot import CloudProblem, CloudSinkhorn, CloudSolution
from hf_ctkd.probes.labelled import labelled_rows
from hf_ctkd.types import ModelOutputs, Needs


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
        source, _ = labelled_rows(self.source, self.source_labels)
        if source.features.shape[1] != outputs.features.shape[1]:
            raise InvalidArgumentError(
                f"`source` must come from the teacher that is scored, but its features are {source.features.shape[1]} "
                f"wide instead of {outputs.features.shape[1]}. Compute it with the same teacher."
            )
        return self.solver.solve(CloudProblem(source.features.double(), outputs.features))

    def conditional_entropy(self, solution: CloudSolution, labels: Int[Tensor, " rows"]) -> float:
        """Entropy, in nats, of the target's label given the source's under the coupling.

        Args:
            solution: of `solve`.
            labels: of the target rows, from 0 on.
        """
        _, chosen = labelled_rows(self.source, self.source_labels)
        # P(y_s, y_t) is the plan summed over the rows of both classes; the entropy is
        # H(Y_t | Y_s) = - sum P(y_s, y_t) log (P(y_s, y_t) / P(y_s)).
        joint = solution.pooled(_one_hot(chosen), _one_hot(labels))
        joint = joint / joint.sum()
        conditional = joint / joint.sum(dim=1, keepdim=True).clamp_min(1e-300)
        return -float(torch.special.xlogy(joint, conditional).sum())


def _one_hot(labels: Int[Tensor, " rows"]) -> Float[Tensor, "rows classes"]:
    return torch.nn.functional.one_hot(labels).double()


@dataclass(frozen=True, eq=False)
class FOTCE(TransferabilityMetric):
    """Minus the entropy of the target's label given the source's, under optimal transport between their features.

    Use it where rows of the data that the teacher was trained on are at hand. One object serves one teacher: score
    each teacher with its own source, since the selector hands target rows only. Memory stays bounded however many
    rows there are.

    Args:
        source: outputs of the same teacher over rows of its own task.
        source_labels: labels of these rows; rows with -100 are ignored.
        solver: of the transport.

    Raises:
        InvalidArgumentError: if `source` and `source_labels` differ in rows, or `source` is not finite.
        DatasetError: if no source row is labelled.
        NotConvergedError: if the transport missed its tolerance.

    Reference:
        After Tan et al., "Transferability-guided cross-domain cross-task transfer learning", arXiv:2207.05510.

    Example:
        >>> import torch
        >>> from hf_ctkd.types import ModelOutputs
        >>> labels = torch.arange(2).repeat(10)
        >>> seen = ModelOutputs(torch.eye(2)[labels])
        >>> FOTCE(seen, labels).score(ModelOutputs(torch.eye(2)[labels]), labels) > -1e-6
        True
    """

    source: ModelOutputs
    source_labels: Int[Tensor, " source_rows"]
    _: KW_ONLY
    solver: CloudSinkhorn = field(default_factory=CloudSinkhorn)

    name: ClassVar[str] = "fotce"
    citation: ClassVar[str] = r"""@misc{tan2022transferability,
  title = {Transferability-guided cross-domain cross-task transfer learning},
  author = {Tan, Yang and Zhang, Enming and Li, Yang and Huang, Shao-Lun and Zhang, Xiao-Ping},
  year = {2022},
  eprint = {2207.05510},
  archivePrefix = {arXiv}
}"""
    needs: ClassVar[Needs] = Needs.FEATURES

    def __post_init__(self) -> None:
        self._coupling()

    def of_rows(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> float:
        """See `TransferabilityMetric.of_rows`."""
        coupling = self._coupling()
        return -coupling.conditional_entropy(coupling.solve(outputs), labels)

    def _coupling(self) -> SourceCoupling:
        return SourceCoupling(self.source, self.source_labels, self.solver)
