"""TransRate: how much shorter the features' code gets once the labels are known."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.metrics.base import TransferabilityMetric
from hf_ctkd.types import ModelOutputs, Needs


@dataclass(frozen=True)
class TransRate(TransferabilityMetric):
    """Coding rate of all features less the mean coding rate within the classes: a stand-in for mutual information.

    Use it for teachers without a head, with more rows a class than features; with fewer, every class fits into a
    subspace of its own and wide teachers are flattered. Not for two classes: these lie on opposite sides of the mean of
    all rows, from which both are coded, and look alike to it however far apart they are.

    Args:
        distortion: squared distance at which two points are told apart, relative to the mean squared length of the
            centred features, positive.

    Raises:
        InvalidArgumentError: if `distortion` is not positive.

    Reference:
        After Huang et al., "Frustratingly easy transferability estimation", ICML 2022, arXiv:2106.09362; the scale of
        the features is reconstructed, and classes count by their share of the rows.

    Example:
        >>> import torch
        >>> from hf_ctkd.types import ModelOutputs
        >>> labels = torch.arange(4).repeat(50)
        >>> noise = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
        >>> apart = noise + 5 * torch.eye(4, 6)[labels]
        >>> TransRate().score(ModelOutputs(apart), labels) > TransRate().score(ModelOutputs(noise), labels)
        True
    """

    distortion: float = 1e-4

    name: ClassVar[str] = "transrate"
    citation: ClassVar[str] = r"""@inproceedings{huang2022frustratingly,
  title = {Frustratingly easy transferability estimation},
  author = {Huang, Long-Kai and Huang, Junzhou and Rong, Yu and Yang, Qiang and Wei, Ying},
  booktitle = {ICML},
  year = {2022},
  eprint = {2106.09362},
  archivePrefix = {arXiv}
}"""
    needs: ClassVar[Needs] = Needs.FEATURES

    def __post_init__(self) -> None:
        if not self.distortion > 0:
            raise InvalidArgumentError(f"`distortion` must be positive, got {self.distortion}.")

    def of_rows(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> float:
        """See `TransferabilityMetric.of_rows`."""
        features = outputs.features - outputs.features.mean(dim=0)
        length = features.square().sum(dim=1).mean()
        features = features / length.clamp_min(1e-300).sqrt()
        # TransRate = R(Z, eps) - R(Z, eps | Y), R(Z, eps) = (1/2) log det(I + Z^T Z / (n eps)).
        within = sum(
            float((labels == label).double().mean()) * self._rate(features[labels == label])
            for label in range(int(labels.max()) + 1)
        )
        return self._rate(features) - within

    def _rate(self, features: Float[Tensor, "rows width"]) -> float:
        """Half the log determinant of `I + Z^T Z / (rows distortion)`, from singular values."""
        power = torch.linalg.svdvals(features).square() / (len(features) * self.distortion)
        return 0.5 * float(power.log1p().sum())
