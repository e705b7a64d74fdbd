"""Positions of a student's layer and of a teacher's, brought together."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from hf_ctkd.types import Hidden


class Aligned(NamedTuple):
    """Two layers over the same positions; the teacher's side carries no gradient.

    Args:
        student: `[batch, positions, width]`.
        teacher: `[batch, positions, teacher's width]`.
        mask: `[batch, positions]`, false at padding; None where every position counts.
    """

    student: Tensor
    teacher: Tensor
    mask: Tensor | None = None


def align(student: Hidden, teacher: Hidden, *, positionwise: bool = True) -> Aligned:
    """Bring a teacher's layer onto the positions of a student's, in 32 bits.

    A teacher's image grid is resized to the student's, bilinearly. Texts are compared position by position only where
    both models cut them into the same number of tokens; else, and where one side is no grid, each side is averaged over
    its positions, padding left out.

    Args:
        student: the student's layer.
        teacher: the teacher's layer over the same rows.
        positionwise: whether equal positions of texts mean equal tokens; see `same_positions`.
    """
    student_values, teacher_values = student.values.float(), teacher.values.detach().float()
    if len(student.grid) == 2 and len(teacher.grid) == 2:
        return Aligned(student_values, _resized(teacher_values, teacher.grid, student.grid), student.mask)
    if positionwise and same_positions(student, teacher):
        return Aligned(student_values, teacher_values, student.mask)
    return Aligned(_pooled(student_values, student.mask), _pooled(teacher_values, teacher.mask))


def same_positions(student: Hidden, teacher: Hidden) -> bool:
    """Whether two layers have the same positions and the same padding, as models that share a tokenizer have."""
    if student.grid != teacher.grid or student.values.shape[:2] != teacher.values.shape[:2]:
        return False
    if student.mask is None or teacher.mask is None:
        return student.mask is teacher.mask
    return torch.equal(student.mask, teacher.mask.to(student.mask.device))


def _resized(
    values: Float[Tensor, "batch positions width"], grid: tuple[int, ...], size: tuple[int, ...]
) -> Float[Tensor, "batch resized width"]:
    if grid == size:
        return values
    images = values.transpose(1, 2).unflatten(2, grid)
    return F.interpolate(images, size=size, mode="bilinear", antialias=True).flatten(2).transpose(1, 2)


def _pooled(values: Float[Tensor, "batch positions width"], mask: Tensor | None) -> Float[Tensor, "batch 1 width"]:
    if mask is None:
        return values.mean(1, keepdim=True)
    weights = mask.unsqueeze(2).to(values.dtype)
    return (values * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True).clamp_min(1)
