"""How far student features are from their target: row by row, or by the relations that rows have to each other."""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hf_ctkd.errors import InvalidArgumentError

_TINY = 1e-12


class Distance(nn.Module, ABC):
    """A distance between two batches of features of one width, as a mean over rows.

    Subclasses with parameters make them in `setup`; constructor arguments are stored under their own names.
    """

    name: ClassVar[str]
    """Short name by which it is chosen."""
    needs_positions: ClassVar[bool] = False
    """Whether it compares positions within a row, and so cannot serve where there is only one."""
    usual_weight: ClassVar[float] = 1.0
    """Weight of a projection loss with this distance, unless another is given."""

    def setup(self, width: int) -> None:
        """Make parameters for features of a width; called once."""

    @abstractmethod
    def forward(
        self,
        student: Float[Tensor, "batch positions width"],
        target: Float[Tensor, "batch positions width"],
        mask: Bool[Tensor, "batch positions"] | None = None,
    ) -> Float[Tensor, ""]:
        """The distance.

        Args:
            student: one side, with gradient.
            target: the other side.
            mask: false at padding, which counts for nothing; None where every position counts.
        """


class _Pointwise(Distance):
    """A distance that compares every position with its own target alone."""

    def forward(
        self,
        student: Float[Tensor, "batch positions width"],
        target: Float[Tensor, "batch positions width"],
        mask: Bool[Tensor, "batch positions"] | None = None,
    ) -> Float[Tensor, ""]:
        """See `Distance.forward`."""
        if mask is None:
            return self._of_rows(student.flatten(0, 1), target.flatten(0, 1))
        return self._of_rows(student[mask], target[mask])

    @abstractmethod
    def _of_rows(self, student: Float[Tensor, "n width"], target: Float[Tensor, "n width"]) -> Float[Tensor, ""]:
        """The distance between rows that belong together."""


class L2(_Pointwise):
    """Mean squared difference, over rows and features."""

    name = "l2"
    usual_weight = 0.1

    def _of_rows(self, student: Float[Tensor, "n width"], target: Float[Tensor, "n width"]) -> Float[Tensor, ""]:
        return F.mse_loss(student, target)


class LogSum(_Pointwise):
    """`log sum |a - b|^alpha`, whose gradient is that of the largest differences, whatever their scale.

    The sum runs over features and the *mean* over rows: a constant `log n` less than the sum over both, and so the same
    gradient, but comparable between batches of unequal size.

    Args:
        alpha: power, positive; 4 to 5 is best in the authors' ablation.

    Raises:
        InvalidArgumentError: if `alpha` is not positive.

    Reference:
        After Miles and Mikolajczyk, "Understanding the role of the projector in knowledge distillation",
        arXiv:2303.11098.
    """

    name = "logsum"
    usual_weight = 0.03

    def __init__(self, alpha: float = 4.0) -> None:
        super().__init__()
        if not alpha > 0:
            raise InvalidArgumentError(f"`alpha` must be positive, got {alpha}.")
        self.alpha = alpha

    def _of_rows(self, student: Float[Tensor, "n width"], target: Float[Tensor, "n width"]) -> Float[Tensor, ""]:
        return ((student - target).abs().pow(self.alpha).sum(1).mean() + _TINY).log()

    def extra_repr(self) -> str:
        """The power."""
        return f"alpha={self.alpha}"


class SmoothL1(_Pointwise):
    """Squared difference where it is below one, absolute difference above, mean over rows and features."""

    name = "smooth_l1"
    usual_weight = 0.1

    def _of_rows(self, student: Float[Tensor, "n width"], target: Float[Tensor, "n width"]) -> Float[Tensor, ""]:
        return F.smooth_l1_loss(student, target)


class Cosine(_Pointwise):
    """One minus the cosine, mean over rows."""

    name = "cosine"

    def _of_rows(self, student: Float[Tensor, "n width"], target: Float[Tensor, "n width"]) -> Float[Tensor, ""]:
        return 1 - F.cosine_similarity(student, target).mean()


class VariationalInformation(_Pointwise):
    """Negative log-likelihood of one side given the other, Gaussian, with a variance learned for each feature.

    Reference:
        After Ahn et al., "Variational information distillation for knowledge transfer" (VID), arXiv:1904.05835.
    """

    name = "vid"

    def setup(self, width: int) -> None:
        """Make the variances, all 5 to begin with."""
        self.raw_variance = nn.Parameter(torch.full((width,), math.log(math.expm1(5.0))))

    def _of_rows(self, student: Float[Tensor, "n width"], target: Float[Tensor, "n width"]) -> Float[Tensor, ""]:
        variance = F.softplus(self.raw_variance.float()) + 1e-5
        return 0.5 * ((student - target).square() / variance + variance.log()).mean()


class Attention(Distance):
    """Squared difference of attention maps: where in a row the energy of the features lies.

    Reference:
        After Zagoruyko and Komodakis, "Paying more attention to attention" (AT), arXiv:1612.03928; summed over
        positions where the paper's code takes their mean.
    """

    name = "at"
    needs_positions = True

    def forward(
        self,
        student: Float[Tensor, "batch positions width"],
        target: Float[Tensor, "batch positions width"],
        mask: Bool[Tensor, "batch positions"] | None = None,
    ) -> Float[Tensor, ""]:
        """See `Distance.forward`."""
        maps = [F.normalize(_masked(side, mask).square().mean(2), dim=1) for side in (student, target)]
        return (maps[0] - maps[1]).square().sum(1).mean()


class ProbabilisticTransfer(Distance):
    """KL between the similarities that each row has to all rows of the batch, as conditional probabilities.

    Reference:
        After Passalis and Tefas, "Learning deep representations with probabilistic knowledge transfer" (PKT),
        arXiv:1803.10837: cosine kernel; summed over the other row where their code takes the mean.
    """

    name = "pkt"

    def forward(
        self,
        student: Float[Tensor, "batch positions width"],
        target: Float[Tensor, "batch positions width"],
        mask: Bool[Tensor, "batch positions"] | None = None,
    ) -> Float[Tensor, ""]:
        """See `Distance.forward`."""
        student_near, target_near = (_neighbours(_masked(side, mask).flatten(1)) for side in (student, target))
        return (target_near * ((target_near + 1e-7).log() - (student_near + 1e-7).log())).sum(1).mean()


class SimilarityPreserving(Distance):
    """Squared difference of the rows' similarity matrices, each row of a matrix scaled to length one.

    Reference:
        After Tung and Mori, "Similarity-preserving knowledge distillation" (SP), arXiv:1907.09682; a mean over rows,
        larger than the paper's by the number of rows in the batch.
    """

    name = "sp"

    def forward(
        self,
        student: Float[Tensor, "batch positions width"],
        target: Float[Tensor, "batch positions width"],
        mask: Bool[Tensor, "batch positions"] | None = None,
    ) -> Float[Tensor, ""]:
        """See `Distance.forward`."""
        flat = [_masked(side, mask).flatten(1) for side in (student, target)]
        student_similarity, target_similarity = (F.normalize(rows @ rows.T, dim=1) for rows in flat)
        return (student_similarity - target_similarity).square().sum(1).mean()


class Relational(Distance):
    """Smooth-L1 between the distances of all pairs of rows, and between the angles of all triplets, which count twice.

    Angles take memory for the third power of the rows in a batch: up to about 256 rows.

    Reference:
        After Park et al., "Relational knowledge distillation" (RKD), arXiv:1904.05068.
    """

    name = "rkd"

    def forward(
        self,
        student: Float[Tensor, "batch positions width"],
        target: Float[Tensor, "batch positions width"],
        mask: Bool[Tensor, "batch positions"] | None = None,
    ) -> Float[Tensor, ""]:
        """See `Distance.forward`."""
        (near, angle), (near_target, angle_target) = (
            _relations(_masked(side, mask).flatten(1)) for side in (student, target)
        )
        return F.smooth_l1_loss(near, near_target) + 2 * F.smooth_l1_loss(angle, angle_target)


DISTANCES: dict[str, type[Distance]] = {
    kind.name: kind
    for kind in (
        L2,
        LogSum,
        SmoothL1,
        Cosine,
        VariationalInformation,
        Attention,
        ProbabilisticTransfer,
        SimilarityPreserving,
        Relational,
    )
}
"""The distances that can be chosen by name."""


def _masked(side: Tensor, mask: Tensor | None) -> Tensor:
    return side if mask is None else side * mask.unsqueeze(2)


def _neighbours(rows: Float[Tensor, "n width"]) -> Float[Tensor, "n n"]:
    unit = F.normalize(rows, dim=1)
    similarity = ((unit @ unit.T + 1) / 2).clamp(0, 1)
    return similarity / similarity.sum(1, keepdim=True)


def _relations(rows: Float[Tensor, "n width"]) -> tuple[Float[Tensor, "n n"], Float[Tensor, "n n n"]]:
    """Distances over their mean, and cosines of the angle at the first row of each triplet; 0 where rows are equal."""
    # Not by matrix products: their cancellation would give equal rows a distance, and an angle of noise.
    distance = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    apart = distance > 0
    scaled = distance / (distance.sum() / apart.sum().clamp_min(1)).clamp_min(_TINY)
    inverse = torch.where(apart, 1 / distance.masked_fill(~apart, 1), 0)
    centred = rows - rows.mean(0)
    gram = centred @ centred.T
    # <x_i - x_j, x_k - x_j> without a tensor [n, n, width].
    inner = gram[None] - gram[:, :, None] - gram[:, None, :] + gram.diagonal()[:, None, None]
    return scaled, inner * inverse[:, :, None] * inverse[:, None, :]
