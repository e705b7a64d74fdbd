"""Bayesian linear regression from features onto one-hot labels, at the precisions of highest evidence."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

_MOST_STEPS = 200


@dataclass(frozen=True, eq=False)
class BayesianRegression:
    """A Bayesian linear regression for each class, from features onto the one-hot label.

    Use it where a linear map has to be fitted without held-out rows: the evidence itself punishes complexity. `LogME`
    is its `log_evidence`, `BTuningLoss` uses its `weight`. Not for posteriors of classes, which `LinearProbe` gives.

    Args:
        weight: `[classes, width]`, posterior mean of the weights; zeros for a class without a row.
        log_evidence: highest log evidence for each row, a mean over the classes that have a row.

    Reference:
        After You, Liu, Wang and Long, "LogME: practical assessment of pre-trained models for transfer learning",
        arXiv:2102.11005.
    """

    weight: Float[Tensor, "classes width"]
    log_evidence: float

    @classmethod
    def fit(
        cls, features: Float[Tensor, "rows width"], labels: Int[Tensor, " rows"], n_classes: int
    ) -> "BayesianRegression":
        """Fit one regression for each class, in 64 bits.

        Args:
            features: of labelled rows.
            labels: class ids, none of them -100.
            n_classes: number of classes.
        """
        rows, width = features.shape
        left, singular, right = torch.linalg.svd(features.double(), full_matrices=False)
        power = singular.square()
        targets = F.one_hot(labels, n_classes).double()
        along = left.T @ targets
        weight = torch.zeros(n_classes, width, dtype=torch.float64)
        evidence = []
        for class_id in labels.unique().tolist():
            one_class = _OneClass(power, along[:, class_id].square(), float(targets[:, class_id].sum()), rows, width)
            alpha, beta, log_evidence = one_class.maximised()
            # m = beta (alpha I + beta F^T F)^-1 F^T y, along the right singular vectors of F.
            weight[class_id] = right.T @ (beta * singular * along[:, class_id] / (alpha + beta * power))
            evidence.append(log_evidence)
        return cls(weight, sum(evidence) / len(evidence) / rows)


@dataclass(frozen=True)
class _OneClass:
    """The regression of one class, in the coordinates of the features' singular vectors.

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

    def maximised(self) -> tuple[float, float, float]:
        """Both precisions at the fixed point, and the log evidence there."""
        alpha = beta = 1.0
        evidence = self.evidence(alpha, beta)
        for _ in range(_MOST_STEPS):
            alpha, beta = self.improved(alpha, beta)
            before, evidence = evidence, self.evidence(alpha, beta)
            if abs(evidence - before) <= 1e-9 * abs(evidence):
                break
        return alpha, beta, evidence
