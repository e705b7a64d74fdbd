"""One layer of a teacher and one of the student, compared: a projection, normalisation and a distance."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal

from hf_ctkd.losses.alignment import Aligned
from hf_ctkd.losses.distances import Distance

_EPSILON = 1e-4


def spectrum(weight: Float[Tensor, "rows columns"]) -> dict[str, float]:
    """Effective rank of a matrix, and the share of its energy along the largest singular direction."""
    energy = torch.linalg.svdvals(weight.detach().float()).square()
    share = energy / energy.sum().clamp_min(1e-30)
    entropy = -torch.special.xlogy(share, share).sum()
    return {"effective_rank": float(entropy.exp()), "top_share": float(share[0])}


class ProjectionHead(nn.Module):
    """One teacher's layer and one of the student's: projection, normalisation of both sides, distance."""

    def __init__(
        self,
        projection: nn.Linear,
        sides: tuple[nn.Module, nn.Module],
        distance: Distance,
        *,
        width: int,
        inverted: bool,
        positionwise: bool,
    ) -> None:
        super().__init__()
        self.projection, self.distance = projection, distance
        self.student_side, self.teacher_side = sides
        self.inverted, self.positionwise = inverted, positionwise
        self.distance.setup(width)

    def forward(self, pair: Aligned) -> Tensor:
        """The distance between both sides of an aligned pair."""
        student, teacher, mask = pair
        if self.inverted:
            teacher = self._project(teacher)
        else:
            student = self._project(student)
        student = _on_rows(self.student_side, student, mask)
        return self.distance(student, _on_rows(self.teacher_side, teacher, mask), mask)

    def _project(self, values: Tensor) -> Tensor:
        return F.linear(values, self.projection.weight.float())


class _BatchNorm(nn.Module):
    """Non-affine batch norm over rows, in training by the batch; a single row falls back to running statistics."""

    mean: Tensor
    variance: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))

    def forward(self, rows: Float[Tensor, "n width"]) -> Float[Tensor, "n width"]:
        return F.batch_norm(rows, self.mean, self.variance, training=self.training and len(rows) > 1, eps=_EPSILON)


def _on_rows(
    module: nn.Module, values: Float[Tensor, "batch positions width"], mask: Bool[Tensor, "batch positions"] | None
) -> Float[Tensor, "batch positions width"]:
    """Apply a module to every position that counts."""
    if mask is None:
        return module(values.flatten(0, 1)).reshape(values.shape)
    return torch.zeros_like(values).masked_scatter(mask.unsqueeze(2), module(values[mask]))


def _linear(source: int, width: int, generator: torch.Generator) -> nn.Linear:
    layer = nn.Linear(source, width, bias=False)
    nn.init.normal_(layer.weight, std=source**-0.5, generator=generator)
    return layer


def _orthogonal(source: int, width: int, generator: torch.Generator) -> nn.Linear:
    layer = orthogonal(_linear(source, width, generator))
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"The parametrised layer must stay linear, got {type(layer).__name__}.")
    return layer


PROJECTIONS: dict[str, Callable[[int, int, torch.Generator], nn.Linear]] = {
    "inverted": _linear,
    "traditional": _linear,
    "orthogonal": _orthogonal,
}

NORMALISERS: dict[str, Callable[[int], tuple[nn.Module, nn.Module]]] = {
    "batch": lambda width: (_BatchNorm(width), _BatchNorm(width)),
    "layer": lambda width: (nn.Identity(), nn.LayerNorm(width, eps=_EPSILON, elementwise_affine=False)),
    "none": lambda width: (nn.Identity(), nn.Identity()),
}
"""What is applied to the student's side and to the teacher's, by name."""
