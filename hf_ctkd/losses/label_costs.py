"""Label-space costs of all teachers, with how far each teacher's predictions are related to the labels."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hf_ctkd.costs import LabelCost, relatedness
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses.base import require_logits, require_teachers
from hf_ctkd.types import LossContext, ModelOutputs


class TeacherLabelCosts(nn.Module):
    """The cost matrix of every teacher and its relatedness on held-out rows, as buffers.

    Args:
        cost: makes the matrices.
    """

    relatedness: Tensor

    def __init__(self, cost: LabelCost) -> None:
        super().__init__()
        self.cost = cost
        self.register_buffer("relatedness", torch.zeros(0))

    def fit(self, context: LossContext, loss: str) -> None:
        """Compute costs and relatedness from the teachers' outputs over all training rows.

        Raises:
            InvalidArgumentError: if there is no teacher, or one has no head.
        """
        require_teachers(context, loss)
        require_logits(context, loss)
        found = []
        for place, (outputs, space) in enumerate(zip(context.teachers, context.teacher_label_spaces, strict=True)):
            matrix = self.cost.matrix(outputs, context.labels, target=context.label_space, teacher=space)
            self.register_buffer(f"cost_{place}", matrix.float())
            probabilities = teacher_logits(outputs).float().softmax(dim=1)
            found.append(relatedness(probabilities, context.labels, len(context.label_space)))
        self.relatedness = torch.tensor(found)

    def factors(self, power: float) -> Float[Tensor, " teachers"]:
        """What each teacher's term is multiplied with: `relatedness ** power`, times its share of all these.

        So a poor teacher beside a good one takes next to nothing away from it, and a teacher alone has its weight.

        Args:
            power: of the relatedness; 0 gives all teachers the same share.
        """
        weights = self.relatedness**power
        shares = weights.clamp_min(1e-12) / weights.clamp_min(1e-12).sum()
        return weights * shares

    def matrix(self, teacher: int) -> Float[Tensor, "teacher_classes target_classes"]:
        """The cost of one teacher."""
        return self.get_buffer(f"cost_{teacher}")


def teacher_logits(teacher: ModelOutputs) -> Float[Tensor, "batch teacher_classes"]:
    """A teacher's logits, without gradient.

    Raises:
        InvalidArgumentError: if it has none.
    """
    if teacher.logits is None:
        raise InvalidArgumentError("`teachers` must have logits for this loss, got a headless encoder.")
    return teacher.logits.detach()
