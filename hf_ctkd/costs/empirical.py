"""The cost that is read off labelled rows: one minus the chance of a target class given a teacher class."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.costs.base import SELECTIVE_CROSS_TASK_DISTILLATION, LabelCost
from hf_ctkd.costs.joint import joint
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.probes.labelled import labelled_rows, logits_of
from hf_ctkd.types import LabelSpace, ModelOutputs, Needs


@dataclass(frozen=True)
class EmpiricalCost(LabelCost):
    """`1 - P(target class | teacher class)`, from the teacher's predictions on labelled rows.

    Use it by default: it needs no label names and looks at what the teacher does, not at what its classes are called.
    With only one or two labelled rows a class it is noisy; `SemanticCost` needs no row at all, where names say
    something.

    Args:
        smoothing: weight of the class prior in every conditional, in rows, positive. A teacher class that labelled rows
            hardly ever show falls back to the prior.

    Raises:
        InvalidArgumentError: if `smoothing` is not positive.

    Reference:
        Reconstructed from Lu, Ye and Zhan, "Selective cross-task distillation", arXiv:2204.11526.

    Example:
        >>> import torch
        >>> from hf_ctkd.types import LabelSpace, ModelOutputs
        >>> labels = torch.tensor([0, 0, 1, 1, -100])
        >>> outputs = ModelOutputs(features=torch.zeros(5, 1), logits=20 * torch.eye(2)[[0, 0, 1, 1, 0]])
        >>> EmpiricalCost(smoothing=1.0).matrix(outputs, labels, target=LabelSpace(("cat", "dog"))).round(decimals=2)
        tensor([[0.1700, 0.8300],
                [0.8300, 0.1700]])
    """

    smoothing: float = 1.0

    name: ClassVar[str] = "empirical"
    citation: ClassVar[str] = SELECTIVE_CROSS_TASK_DISTILLATION
    needs: ClassVar[Needs] = Needs.LOGITS

    def __post_init__(self) -> None:
        if self.smoothing <= 0:
            raise InvalidArgumentError(f"`smoothing` must be positive, got {self.smoothing}.")

    def matrix(
        self,
        outputs: ModelOutputs,
        labels: Int[Tensor, " rows"],
        *,
        target: LabelSpace,
        teacher: LabelSpace | None = None,
    ) -> Float[Tensor, "teacher_classes target_classes"]:
        """See `LabelCost.matrix`; raises InvalidArgumentError for a teacher without logits."""
        outputs, labels = labelled_rows(outputs, labels, needs=self.needs, n_classes=len(target))
        table = joint(logits_of(outputs).double().softmax(dim=1), labels, len(target)) * len(labels)
        prior = table.sum(dim=1) / len(labels)
        conditional = (table.T + self.smoothing * prior) / (table.sum(dim=0)[:, None] + self.smoothing)
        return (1 - conditional).clamp(0, 1).float()
