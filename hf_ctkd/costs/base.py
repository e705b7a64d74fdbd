"""What every label-space cost offers."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.types import LabelSpace, ModelOutputs, Needs

SELECTIVE_CROSS_TASK_DISTILLATION = r"""@misc{lu2022selective,
  title = {Selective cross-task distillation},
  author = {Lu, Su and Ye, Han-Jia and Zhan, De-Chuan},
  year = {2022},
  eprint = {2204.11526},
  archivePrefix = {arXiv}
}"""
"""From which the costs are reconstructed."""


class LabelCost(ABC):
    """How far each class of a teacher is from each class of the target, as a matrix in [0, 1].

    Subclasses are frozen dataclasses: settings in, no state kept. They set `name`, `citation` and `needs` on the class.
    """

    name: ClassVar[str]
    """Short name for tables and logs."""
    citation: ClassVar[str]
    """The paper that this follows, as a BibTeX entry."""
    needs: ClassVar[Needs]
    """What of the teacher it reads."""

    @abstractmethod
    def matrix(
        self,
        outputs: ModelOutputs,
        labels: Int[Tensor, " rows"],
        *,
        target: LabelSpace,
        teacher: LabelSpace | None = None,
    ) -> Float[Tensor, "teacher_classes target_classes"]:
        """The cost of moving probability from a teacher's class (row) to a target class (column).

        Args:
            outputs: the teacher's outputs over target rows.
            labels: target labels of these rows; rows with -100 are ignored.
            target: the target's classes.
            teacher: the teacher's classes; only some costs need their names.

        Returns:
            Values in [0, 1], 0 where both classes mean the same.
        """


def cosine_cost(
    teacher_side: Float[Tensor, "teacher_classes width"], target_side: Float[Tensor, "target_classes width"]
) -> Float[Tensor, "teacher_classes target_classes"]:
    """`(1 - cos) / 2`: 0 for the same direction, 1 for opposite ones, 1/2 where a vector is zero and says nothing.

    Args:
        teacher_side: one vector a teacher class.
        target_side: one vector a target class.
    """
    similarity = _unit(teacher_side) @ _unit(target_side).T
    return ((1 - similarity) / 2).clamp(0, 1)


def _unit(vectors: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
    length = vectors.norm(dim=1, keepdim=True)
    tiny = 1e-12 * length.max().clamp_min(1e-300)
    return torch.where(length > tiny, vectors / length.clamp_min(1e-300), torch.zeros_like(vectors))
