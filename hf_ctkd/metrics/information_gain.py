"""The cross-fitted gain of probes on the teacher's layers."""

from dataclasses import dataclass, field
from typing import ClassVar

from jaxtyping import Int
from torch import Tensor

from hf_ctkd.metrics.base import TransferabilityMetric
from hf_ctkd.probes import LinearProbe, fit_layers
from hf_ctkd.types import ModelOutputs, Needs


@dataclass(frozen=True)
class InformationGain(TransferabilityMetric):
    """How much of the labels' uncertainty small probes on the teacher's layers remove on rows they did not see.

    Use it by default: it serves teachers with and without a head, is not flattered by few rows or wide features, and
    is the weight that `RowTransportLoss` and `ProbeLoss` give the teacher; clipped at zero there. Without
    `ModelOutputs.layers` it reads the features alone. 1 is perfect, 0 no better than the class prior. Each class
    needs two rows.

    Args:
        probe: the probe and its cross-fitting.

    Reference:
        Ours; a cross-fitted form of judging features by a linear probe (Alain and Bengio, arXiv:1610.01644).

    Example:
        >>> import torch
        >>> from hf_ctkd.types import ModelOutputs
        >>> labels = torch.arange(3).repeat(20)
        >>> InformationGain().score(ModelOutputs(features=torch.eye(3)[labels]), labels) > 0.9
        True
    """

    probe: LinearProbe = field(default_factory=LinearProbe)

    name: ClassVar[str] = "information_gain"
    citation: ClassVar[str] = r"""@misc{alain2016understanding,
  title = {Understanding intermediate layers using linear classifier probes},
  author = {Alain, Guillaume and Bengio, Yoshua},
  year = {2016},
  eprint = {1610.01644},
  archivePrefix = {arXiv}
}"""
    needs: ClassVar[Needs] = Needs.FEATURES | Needs.LAYERS

    def of_rows(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> float:
        """See `TransferabilityMetric.of_rows`; DatasetError for a class with a single row."""
        return fit_layers(self.probe, outputs, labels, int(labels.max()) + 1).information_gain
