"""GBC: how little the target classes overlap as Gaussians in the teacher's features."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.metrics.base import TransferabilityMetric, class_means, principal_components
from hf_ctkd.types import ModelOutputs, Needs

_FLOOR = 1e-4
"""Least variance of a class, relative to the mean variance: a class of one row has none."""


@dataclass(frozen=True)
class GBC(TransferabilityMetric):
    """Minus the sum of Bhattacharyya coefficients over ordered pairs of classes, each a Gaussian with one variance.

    Use it for teachers without a head and many classes: it looks at pairs of classes only, and stays defined with few
    rows. Classes of several clusters look to it as if they overlapped.

    Args:
        components: principal components kept, positive.
        spherical: whether a class has one variance in all directions, rather than one for each.

    Raises:
        InvalidArgumentError: if `components` is not positive.

    Reference:
        After Pandy et al., "Transferability estimation using Bhattacharyya class separability", CVPR 2022,
        arXiv:2111.12780.

    Example:
        >>> import torch
        >>> from hf_ctkd.types import ModelOutputs
        >>> labels = torch.arange(2).repeat(50)
        >>> noise = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> apart = noise + 9 * labels[:, None]
        >>> GBC().score(ModelOutputs(noise), labels) < -1.5, GBC().score(ModelOutputs(apart), labels) > -0.1
        (True, True)
    """

    components: int = 64
    spherical: bool = True

    name: ClassVar[str] = "gbc"
    citation: ClassVar[str] = r"""@inproceedings{pandy2022transferability,
  title = {Transferability estimation using Bhattacharyya class separability},
  author = {P{\'a}ndy, Michal and Agostinelli, Andrea and Uijlings, Jasper and Ferrari, Vittorio and Mensink,
    Thomas},
  booktitle = {CVPR},
  year = {2022},
  eprint = {2111.12780},
  archivePrefix = {arXiv}
}"""
    needs: ClassVar[Needs] = Needs.FEATURES

    def __post_init__(self) -> None:
        if self.components < 1:
            raise InvalidArgumentError(f"`components` must be at least 1, got {self.components}.")

    def of_rows(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> float:
        """See `TransferabilityMetric.of_rows`."""
        points = principal_components(outputs.features, most=self.components)
        means, _ = class_means(points, labels)
        variances, _ = class_means((points - means[labels]).square(), labels)
        if self.spherical:
            variances = variances.mean(dim=1, keepdim=True).expand_as(variances)
        variances = variances.clamp_min(max(_FLOOR * float(points.square().mean()), 1e-300))
        overlap = torch.stack(
            [_coefficients(mean, variance, means, variances) for mean, variance in zip(means, variances, strict=True)]
        )
        return -float(overlap.sum() - overlap.diagonal().sum())


def _coefficients(
    mean: Float[Tensor, " width"],
    variance: Float[Tensor, " width"],
    means: Float[Tensor, "classes width"],
    variances: Float[Tensor, "classes width"],
) -> Float[Tensor, " classes"]:
    """Bhattacharyya coefficient of one Gaussian with each of several."""
    # D_B = (1/8) (m_1 - m_2)^T S^-1 (m_1 - m_2) + (1/2) log(det S / sqrt(det S_1 det S_2)), with
    # S = (S_1 + S_2) / 2 diagonal; the coefficient is exp(-D_B).
    middle = (variance + variances) / 2
    distance = ((mean - means).square() / middle).sum(dim=1) / 8
    volume = (middle.log() - (variance.log() + variances.log()) / 2).sum(dim=1) / 2
    return torch.exp(-distance - volume)
