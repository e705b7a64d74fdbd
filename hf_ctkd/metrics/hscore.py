"""H-score with a shrunk covariance."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.metrics.base import TransferabilityMetric, class_means
from hf_ctkd.probes.gram import gram
from hf_ctkd.types import ModelOutputs, Needs


@dataclass(frozen=True)
class HScore(TransferabilityMetric):
    """Spread between classes relative to the shrunk spread of all features.

    Use it with more rows than a few a class: it has no held-out rows. Shrinkage keeps it defined where features are
    wider than there are rows.

    Reference:
        After Bao et al., "An information-theoretic approach to transferability", 2019 (H-score), and Ibrahim,
        Ponomareva and Mazumder, "Newer is not always better", arXiv:2110.06893 (Ledoit-Wolf shrinkage).

    Example:
        >>> import torch
        >>> from hf_ctkd.types import ModelOutputs
        >>> labels = torch.arange(2).repeat(20)
        >>> round(HScore().score(ModelOutputs(features=2.0 * labels[:, None] - 1), labels), 3)
        1.0
    """

    name: ClassVar[str] = "hscore"
    citation: ClassVar[str] = r"""@misc{ibrahim2021newer,
  title = {Newer is not always better: rethinking transferability metrics, their peculiarities, stability and
    performance},
  author = {Ibrahim, Shibal and Ponomareva, Natalia and Mazumder, Rahul},
  year = {2021},
  eprint = {2110.06893},
  archivePrefix = {arXiv}
}"""
    needs: ClassVar[Needs] = Needs.FEATURES

    def of_rows(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> float:
        """See `TransferabilityMetric.of_rows`."""
        features = outputs.features - outputs.features.mean(dim=0)
        rows, width = features.shape
        variance = float(features.square().mean())
        if variance == 0:
            return 0.0
        covariance = gram(features) / rows
        shrinkage = _shrinkage(features, covariance)
        covariance *= 1 - shrinkage
        covariance.diagonal().add_(max(shrinkage, 1e-10) * variance)
        means, counts = class_means(features, labels)
        # H = trace(cov(f)^-1 cov(E[f | y])), with (1 - a) cov(f) + a s I for cov(f), a after Ledoit and Wolf.
        inside = (means * torch.linalg.solve(covariance, means.T).T).sum(dim=1)
        return (1 - shrinkage) * float((counts / rows) @ inside)


def _shrinkage(features: Float[Tensor, "rows width"], covariance: Float[Tensor, "width width"]) -> float:
    """How far the covariance of centred features is drawn towards a multiple of the identity.

    scikit-learn's `ledoit_wolf_shrinkage` gives the same, but forms two more products of the size of the covariance:
    one is at hand here, and the sum over the other is that over the squared lengths of the rows.

    Reference:
        Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", 2004.
    """
    rows, width = features.shape
    mean = covariance.diagonal().mean()
    lengths = features.square().sum(dim=1)
    of_covariance = covariance.square().sum()
    noise = float(lengths.square().mean() - of_covariance) / (width * rows)
    distance = float(of_covariance / width - mean.square())
    if noise <= 0:
        return 0.0
    return min(noise / distance, 1.0) if distance > 0 else 1.0
