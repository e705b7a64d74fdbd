"""The soft label map: what transport between label spaces distils, without any transport."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.costs import EmpiricalCost, LabelCost
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses.base import DistillationLoss, student_logits
from hf_ctkd.losses.label_costs import TeacherLabelCosts, teacher_logits
from hf_ctkd.types import LossContext, ModelOutputs, Needs


class LabelMapLoss(DistillationLoss):
    """KL from teachers' predictions, sent through a soft map of labels, to the student's.

    Each teacher class `u` stands for the target classes in proportion to `exp(-cost[u, v] / epsilon)`. With the plain
    entropy this is exactly the student prediction at which transport between the label spaces is cheapest, so it is the
    baseline of `TransportLoss` with a label cost: use it for that comparison, and where a teacher's classes correspond
    closely to the target's. Not where they do not: the map is blurred, and only the weight `relatedness ** power` keeps
    it from doing harm.

    Args:
        cost: label cost.
        epsilon: softness of the map, relative to the largest cost, positive.
        temperature: of the teachers' and the student's predictions, positive.
        power: of the relatedness in the weight of each teacher, not negative; 0 trusts all alike.

    Raises:
        InvalidArgumentError: an argument out of its range.

    Reference:
        Ours, derived from the objective of Lu, Ye and Zhan, arXiv:2204.11526.
    """

    name: ClassVar[str] = "label_map"
    citation: ClassVar[str] = "Ours (hf_ctkd): optimum of the entropic transport objective of arXiv:2204.11526"

    def __init__(
        self,
        cost: LabelCost = EmpiricalCost(),  # noqa: B008 (frozen)
        *,
        epsilon: float = 0.1,
        temperature: float = 1.0,
        power: float = 2.0,
    ) -> None:
        super().__init__()
        for name, value in (("epsilon", epsilon), ("temperature", temperature)):
            if not value > 0:
                raise InvalidArgumentError(f"`{name}` must be positive, got {value}.")
        if not power >= 0:
            raise InvalidArgumentError(f"`power` must not be negative, got {power}.")
        self.cost, self.epsilon, self.temperature, self.power = cost, epsilon, temperature, power
        self.needs = Needs.TEACHER | Needs.FIT | Needs.LOGITS | cost.needs
        self.costs = TeacherLabelCosts(cost)

    def setup(self, context: LossContext) -> None:
        """Fit costs and relatedness on the labelled rows; see `DistillationLoss.setup`."""
        self.costs.fit(context, type(self).__name__)

    def target(self, teacher: ModelOutputs, place: int) -> Float[Tensor, "batch classes"]:
        """A teacher's predictions in terms of the target's classes.

        Args:
            teacher: its outputs.
            place: which teacher it is.
        """
        matrix = self.costs.matrix(place)
        scale = self.epsilon * matrix.max().clamp_min(1e-12)
        return (teacher_logits(teacher).float() / self.temperature).softmax(dim=1) @ (-matrix / scale).softmax(dim=1)

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The term `label_map`; see `DistillationLoss.forward`."""
        with torch.autocast(student.features.device.type, enabled=False):
            predicted = (student_logits(student).float() / self.temperature).log_softmax(dim=1)
            found = [
                factor * F.kl_div(predicted, self.target(teacher, place), reduction="batchmean")
                for place, (factor, teacher) in enumerate(zip(self.costs.factors(self.power), teachers, strict=True))
            ]
            return {self.name: torch.stack(found).sum()}

    def strength(self) -> float:
        """Sum of the factors of all teachers."""
        return float(self.costs.factors(self.power).sum())

    def weights(self) -> tuple[float, ...]:
        """Relatedness of each teacher in [0, 1], on held-out rows."""
        return tuple(self.costs.relatedness.tolist())
