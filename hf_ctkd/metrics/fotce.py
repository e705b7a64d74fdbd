"""F-OTCE: what is left unknown of the target's labels once source rows are coupled with target rows."""

from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar

from jaxtyping import Int
from torch import Tensor

from hf_ctkd.metrics.base import TransferabilityMetric
from hf_ctkd.metrics.coupling import SourceCoupling
from hf_ctkd.ot import CloudSinkhorn
from hf_ctkd.types import ModelOutputs, Needs


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
    citation: ClassVar[str] = "After Tan et al., arXiv:2207.05510"
    needs: ClassVar[Needs] = Needs.FEATURES

    def __post_init__(self) -> None:
        self._coupling()

    def of_rows(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> float:
        """See `TransferabilityMetric.of_rows`."""
        coupling = self._coupling()
        return -coupling.conditional_entropy(coupling.solve(outputs), labels)

    def _coupling(self) -> SourceCoupling:
        return SourceCoupling(self.source, self.source_labels, self.solver)
