"""LogME: log maximum evidence of a linear model from features to labels."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.metrics.base import TransferabilityMetric
from hf_ctkd.types import ModelOutputs, Needs

_MOST_STEPS = 200


@dataclass(frozen=True)
class LogME(TransferabilityMetric):
    """Highest log evidence, a row and a class, of Bayesian linear regression from features onto one-hot labels.

    Use it for teachers without a head and with many rows. The evidence punishes complexity by itself, so no rows are
    held out.

    Reference:
        After You, Liu, Wang and Long, "LogME", arXiv:2102.11005.

    Example:
        >>> import torch
        >>> from hf_ctkd.types import ModelOutputs
        >>> labels = torch.arange(2).repeat(20)
        >>> noise = ModelOutputs(torch.randn(40, 3, generator=torch.Generator().manual_seed(0)))
        >>> apart = ModelOutputs(noise.features + 3 * labels[:, None])
        >>> LogME().score(apart, labels) > LogME().score(noise, labels)
        True
    """

    name: ClassVar[str] = "logme"
    citation: ClassVar[str] = r"""@inproceedings{you2021logme,
  title = {{LogME}: practical assessment of pre-trained models for transfer learning},
  author = {You, Kaichao and Liu, Yong and Wang, Jianmin and Long, Mingsheng},
  booktitle = {ICML},
  year = {2021},
  eprint = {2102.11005},
  archivePrefix = {arXiv}
}"""
    needs: ClassVar[Needs] = Needs.FEATURES

    def of_rows(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> float:
        """See `TransferabilityMetric.of_rows`."""
        left, singular, _ = torch.linalg.svd(outputs.features, full_matrices=False)
        power = singular.square()
        targets = torch.nn.functional.one_hot(labels).double()
        captured = (left.T @ targets).square()
        totals = targets.square().sum(dim=0)
        rows, width = outputs.features.shape
        evidence = [
            _Regression(power, captured[:, k], float(totals[k]), rows, width).best_evidence()
            for k in range(targets.shape[1])
        ]
        return sum(evidence) / len(evidence) / rows


@dataclass(frozen=True)
class _Regression:
    """Bayesian linear regression of one target, in the coordinates of the features' singular vectors.

    Args:
        power: squared singular values of the features.
        captured: squared length of the target along each left singular vector.
        total: squared length of the target.
        rows: number of rows.
        width: number of features.
    """

    power: Float[Tensor, " rank"]
    captured: Float[Tensor, " rank"]
    total: float
    rows: int
    width: int

    def parts(self, alpha: float, beta: float) -> tuple[Float[Tensor, " rank"], float, float]:
        """Precision along each axis, squared length of the mean weights, squared residual."""
        precision = alpha + beta * self.power
        weights = float((beta**2 * self.power * self.captured / precision.square()).sum())
        inside = float((self.captured * (alpha / precision).square()).sum())
        outside = max(self.total - float(self.captured.sum()), 0.0)
        return precision, weights, inside + outside

    def evidence(self, alpha: float, beta: float) -> float:
        """Log evidence (equation 2 of the paper) under precision `alpha` of the weights and `beta` of the noise."""
        precision, weights, residual = self.parts(alpha, beta)
        determinant = float(precision.log().sum()) + (self.width - len(self.power)) * math.log(alpha)
        likelihood = self.rows * math.log(beta / (2 * math.pi)) - beta * residual
        return 0.5 * (likelihood + self.width * math.log(alpha) - alpha * weights - determinant)

    def improved(self, alpha: float, beta: float) -> tuple[float, float]:
        """One fixed-point step; precisions are bounded, as a perfect fit would send `beta` to infinity."""
        precision, weights, residual = self.parts(alpha, beta)
        determined = float((beta * self.power / precision).sum())
        alpha = determined / max(weights, 1e-300)
        beta = (self.rows - determined) / max(residual, 1e-300)
        return min(max(alpha, 1e-10), 1e10), min(max(beta, 1e-10), 1e10)

    def best_evidence(self) -> float:
        """Log evidence at the fixed point in both precisions."""
        alpha = beta = 1.0
        evidence = self.evidence(alpha, beta)
        for _ in range(_MOST_STEPS):
            alpha, beta = self.improved(alpha, beta)
            before, evidence = evidence, self.evidence(alpha, beta)
            if abs(evidence - before) <= 1e-9 * abs(evidence):
                break
        return evidence
