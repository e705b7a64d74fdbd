"""The cross-fitted gain of probes on the teacher's layers."""

import logging
import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.metrics.base import MeanOverRows
from hf_ctkd.probes import LinearProbe, cross_fit_layers
from hf_ctkd.types import UNLABELLED, ModelOutputs, Needs

logger = logging.getLogger(__name__)

_FEWEST_CLASSES = 256
"""Up to so many classes none is left out, however large the problem."""


@dataclass(frozen=True)
class InformationGain(MeanOverRows):
    """How much of the labels' uncertainty small probes on the teacher's layers remove on rows they did not see.

    Use it by default: it serves teachers with and without a head, is not flattered by few rows or wide features, and
    is the weight that `RowTransportLoss` and `ProbeLoss` give the teacher; clipped at zero there, and of all axes of
    its layers. Without `ModelOutputs.layers` it reads the features alone. 1 is perfect, 0 no better than the class
    prior. Each class needs two rows.

    Of a layer wider than `max_axes` as many principal axes are read, those of the largest variance: the others take
    most of the time and hardly move the gain (`benchmarks/metrics.py`).
    With more than 256 classes a large problem is scored on a part of its classes: a seeded choice, the same for all
    teachers, which keeps their order at a cost that hardly grows with the classes.

    Args:
        probe: the probe and its cross-fitting.
        max_size: rows times features (at most `max_axes`) times classes of a problem that is scored whole, positive;
            infinity leaves no class out.
        max_axes: principal axes of a layer that are read at most, at least 1.

    Raises:
        InvalidArgumentError: if `max_size` is not positive or `max_axes` below 1.

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
    max_size: float = 4e8
    max_axes: int = 512

    name: ClassVar[str] = "information_gain"
    citation: ClassVar[str] = r"""@misc{alain2016understanding,
  title = {Understanding intermediate layers using linear classifier probes},
  author = {Alain, Guillaume and Bengio, Yoshua},
  year = {2016},
  eprint = {1610.01644},
  archivePrefix = {arXiv}
}"""
    needs: ClassVar[Needs] = Needs.FEATURES | Needs.LAYERS

    def __post_init__(self) -> None:
        if not self.max_size > 0:
            raise InvalidArgumentError(f"`max_size` must be positive, got {self.max_size}.")
        if self.max_axes < 1:
            raise InvalidArgumentError(f"`max_axes` must be at least 1, got {self.max_axes}.")

    def score(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> float:
        """See `TransferabilityMetric.score`."""
        return super().score(outputs, self._sampled(labels.cpu(), outputs.features.shape[1]))

    def row_values(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """See `MeanOverRows.row_values`."""
        return super().row_values(outputs, self._sampled(labels.cpu(), outputs.features.shape[1]))

    def values_of_rows(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """See `MeanOverRows.values_of_rows`; DatasetError for a class with a single row."""
        return cross_fit_layers(self.probe, outputs, labels, int(labels.max()) + 1, max_axes=self.max_axes)

    def _sampled(self, labels: Int[Tensor, " rows"], width: int) -> Int[Tensor, " rows"]:
        """Labels of a part of the classes, the others unlabelled, where the problem is too large."""
        labelled = labels[labels != UNLABELLED]
        classes = labelled.unique()
        size = len(labelled) * min(width, self.max_axes) * len(classes)
        if size <= self.max_size or len(classes) <= _FEWEST_CLASSES:
            return labels
        # A part of the classes has as large a part of the rows: the size falls with its square.
        count = max(_FEWEST_CLASSES, int(len(classes) * math.sqrt(self.max_size / size)))
        chosen = classes[torch.randperm(len(classes), generator=torch.Generator().manual_seed(self.probe.seed))[:count]]
        sampled = torch.where(torch.isin(labels, chosen), labels, UNLABELLED)
        logger.info(
            "The information gain is measured on %d of %d classes (%d of %d labelled rows), the same for all teachers; "
            "`InformationGain(max_size=...)` takes more.",
            count,
            len(classes),
            int((sampled != UNLABELLED).sum()),
            len(labelled),
        )
        return sampled
