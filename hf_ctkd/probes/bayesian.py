"""Bayesian linear regression from features onto one-hot labels, at the precisions of highest evidence."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.probes.gram import gram

_MOST_STEPS = 200
_LOOK = 4
"""Steps between two looks at whether a class is still moving, each of which waits for an accelerator."""


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
        # Precisions are bounded and their iteration starts at one, which must not mean something else in another unit.
        unit = features.double().square().mean().sqrt().clamp_min(torch.finfo(torch.float64).tiny)
        scaled_features = features.double() / unit
        power, vectors, along = _principal(scaled_features, labels, n_classes)
        counts = torch.bincount(labels, minlength=n_classes).double()
        present = counts > 0
        regressions = _Regressions(power, along[present].square(), counts[present], rows, width)
        alpha, beta, evidence = regressions.maximised()
        # m = beta (alpha I + beta F^T F)^-1 F^T y, along the right singular vectors of F: `vectors`, or those of which
        # `vectors` are the left ones, V = F^T U / s.
        weight = torch.zeros(n_classes, width, dtype=torch.float64)
        coordinates = beta[:, None] * power.sqrt() * along[present] / (alpha[:, None] + beta[:, None] * power)
        if width > rows:
            weight[present] = coordinates / power.sqrt() @ vectors.T @ scaled_features / unit
        else:
            weight[present] = coordinates @ vectors.T / unit
        return cls(weight, float(evidence.mean()) / rows)


def _principal(
    features: Float[Tensor, "rows width"], labels: Int[Tensor, " rows"], n_classes: int
) -> tuple[Float[Tensor, " rank"], Float[Tensor, "smaller rank"], Float[Tensor, "classes rank"]]:
    """Squared singular values, the singular vectors of the smaller side, and the one-hot labels along the left ones.

    The eigenvectors of the smaller Gram matrix are several times cheaper than a singular value decomposition. Its
    rounding hides directions with less than 1e-13 of the largest power, which are left out. The vectors of the other
    side would take a product as large as the Gram matrix, but only their sums over the rows of a class are needed.
    """
    rows, width = features.shape
    wide = width > rows
    power, vectors = torch.linalg.eigh(gram(features.T) if wide else gram(features))
    clear = power > max(1e-13 * float(power[-1]), 1e-300)
    power, vectors = power[clear], vectors[:, clear]
    summed = vectors if wide else features
    sums = summed.new_zeros(n_classes, summed.shape[1]).index_add(0, labels, summed)
    return power, vectors, sums if wide else sums @ vectors / power.sqrt()


@dataclass(frozen=True)
class _Regressions:
    """The regressions of all classes, in the coordinates of the features' singular vectors.

    Args:
        power: squared singular values of the features.
        captured: squared length of each target along each left singular vector.
        totals: squared length of each target.
        rows: number of rows.
        width: number of features.
    """

    power: Float[Tensor, " rank"]
    captured: Float[Tensor, "classes rank"]
    totals: Float[Tensor, " classes"]
    rows: int
    width: int

    def step(self, alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log evidence (equation 2 of the paper) under precision `alpha` of the weights and `beta` of the noise.

        Returns:
            It, and both precisions after one fixed-point step, bounded, as a perfect fit would send `beta` to infinity.
        """
        precision = alpha[:, None] + beta[:, None] * self.power
        weights = beta.square() * (self.power * self.captured / precision.square()).sum(dim=1)
        inside = alpha.square() * (self.captured / precision.square()).sum(dim=1)
        outside = (self.totals - self.captured.sum(dim=1)).clamp_min(0.0)
        residual = inside + outside
        determinant = precision.log().sum(dim=1) + (self.width - len(self.power)) * alpha.log()
        likelihood = self.rows * (beta / (2 * math.pi)).log() - beta * residual
        evidence = 0.5 * (likelihood + self.width * alpha.log() - alpha * weights - determinant)
        determined = beta * (self.power / precision).sum(dim=1)
        new_alpha = determined / weights.clamp_min(1e-300)
        new_beta = (self.rows - determined) / residual.clamp_min(1e-300)
        return evidence, new_alpha.clamp(1e-10, 1e10), new_beta.clamp(1e-10, 1e10)

    def maximised(self) -> tuple[Tensor, Tensor, Tensor]:
        """Both precisions of every class at the fixed point, and the log evidence there."""
        alpha = beta = torch.ones_like(self.totals)
        evidence, next_alpha, next_beta = self.step(alpha, beta)
        running = torch.ones_like(self.totals, dtype=torch.bool)
        for number in range(1, _MOST_STEPS + 1):
            alpha, beta = torch.where(running, next_alpha, alpha), torch.where(running, next_beta, beta)
            before = evidence
            evidence, next_alpha, next_beta = self.step(alpha, beta)
            running = running & ((evidence - before).abs() > 1e-9 * evidence.abs())
            if number % _LOOK == 0 and not bool(running.any()):
                break
        return alpha, beta, evidence
