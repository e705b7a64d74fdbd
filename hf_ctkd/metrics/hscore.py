"""H-score with a shrunk covariance."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from sklearn.covariance import ledoit_wolf_shrinkage
from torch import Tensor

from hf_ctkd.metrics.base import TransferabilityMetric, class_means
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
        shrinkage = float(ledoit_wolf_shrinkage(features.numpy(), assume_centered=True))
        covariance = (1 - shrinkage) * features.T @ features / rows
        covariance.diagonal().add_(max(shrinkage, 1e-10) * variance)
        means, counts = class_means(features, labels)
        between = _spread(means, counts / rows)
        # H = trace(cov(f)^-1 cov(E[f | y])), with (1 - a) cov(f) + a s I for cov(f), a after Ledoit and Wolf.
        return (1 - shrinkage) * float(torch.linalg.solve(covariance, between).trace())


def _spread(means: Float[Tensor, "classes width"], shares: Float[Tensor, " classes"]) -> Float[Tensor, "width width"]:
    return means.T @ (shares[:, None] * means)
