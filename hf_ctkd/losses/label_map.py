"""The soft label map: the optimum of transport between label spaces, without transport."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.costs import EmpiricalCost, LabelCost
from hf_ctkd.losses.base import DistillationLoss, chunked_targets, student_logits, teacher_logits
from hf_ctkd.losses.label_transport import TeacherLabelCosts, check_label_arguments
from hf_ctkd.probes.labelled import CHUNK_ROWS
from hf_ctkd.types import LossContext, ModelOutputs, Needs


class LabelMapLoss(DistillationLoss):
    """KL from teachers' predictions, sent through a soft map of labels, to the student's.

    Each teacher class `u` stands for the target classes in proportion to `exp(-cost[u, v] / epsilon)`. With the plain
    entropy this is exactly the student prediction at which transport between the label spaces is cheapest, so it is the
    baseline of `LabelTransportLoss`: use it for that comparison, and where a teacher's classes correspond closely to
    the target's. Not elsewhere: the map is blurred, and only the weight `relatedness ** gain_exponent` keeps it from
    doing harm.

    Args:
        cost: label cost.
        epsilon: softness of the map, relative to the largest cost, positive.
        temperature: of the teachers' and the student's predictions, positive.
        gain_exponent: exponent of the relatedness in the weight of each teacher, 0 or more; 0 weights all alike.

    Raises:
        InvalidArgumentError: an argument out of its range.

    Reference:
        Ours, derived from the objective of Lu, Ye and Zhan, arXiv:2204.11526.

    Example:
        >>> from hf_ctkd import DistillationConfig, DistillationTrainer, LabelMapLoss
        >>> loss = LabelMapLoss(epsilon=0.05)
        >>> trainer = DistillationTrainer(  # doctest: +SKIP
        ...     model=student,
        ...     args=DistillationConfig("flowers-student", num_train_epochs=20),
        ...     processing_class=image_processor,
        ...     teachers=["microsoft/resnet-50"],
        ...     loss=loss,
        ...     train_dataset=flowers["train"],
        ... )
        >>> trainer.train()  # doctest: +SKIP
    """

    name: ClassVar[str] = "label_map"
    weight_meaning = "the factor of the teacher's term in the distillation loss"
    transport_meaning = (
        "Each cell is the share of the training rows that the first teacher assigns to the one class and the label map "
        "of the loss to the other."
    )
    teaches_labels = True
    citation = """Introduced with hf_ctkd: the optimum of the entropic transport objective of the following paper.

@misc{lu2022selective,
  title = {Selective Cross-Task Distillation},
  author = {Lu, Su and Ye, Han-Jia and Zhan, De-Chuan},
  year = {2022},
  eprint = {2204.11526},
  archivePrefix = {arXiv},
  note = {The objective that the soft label map minimises}
}
"""

    def __init__(
        self,
        cost: LabelCost = EmpiricalCost(),  # noqa: B008 (frozen)
        *,
        epsilon: float = 0.1,
        temperature: float = 1.0,
        gain_exponent: float = 2.0,
    ) -> None:
        super().__init__()
        check_label_arguments(epsilon, temperature, gain_exponent)
        self.cost, self.epsilon, self.temperature, self.gain_exponent = cost, epsilon, temperature, gain_exponent
        self.needs = Needs.TEACHER | Needs.FIT | Needs.LOGITS | cost.needs
        self.costs = TeacherLabelCosts(cost, gain_exponent)

    def setup(self, context: LossContext) -> None:
        """Fit costs and relatedness on the labelled rows; see `DistillationLoss.setup`."""
        self.costs.fit(context, type(self).__name__)

    def mapped(self, teacher: ModelOutputs, index: int) -> Float[Tensor, "batch classes"]:
        """A teacher's predictions in terms of the target's classes.

        Args:
            teacher: its outputs.
            index: of the teacher.
        """
        return (teacher_logits(teacher).float() / self.temperature).softmax(dim=1) @ self._map(index)

    def _map(self, index: int) -> Float[Tensor, "teacher_classes classes"]:
        """Shares of the target's classes in each class of a teacher."""
        matrix = self.costs.matrix(index)
        return (-matrix / (self.epsilon * matrix.max().clamp_min(1e-12))).softmax(dim=1)

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The term `label_map`; see `DistillationLoss.forward`."""
        with torch.autocast(student.features.device.type, enabled=False):
            targets = torch.cat([self.mapped(teacher, index) for index, teacher in enumerate(teachers)], dim=1)
        return self.on_targets(student, targets, labels)

    def row_targets(self, context: LossContext) -> Float[Tensor, "rows teachers_times_classes"]:
        """The mapped predictions of each teacher, side by side; see `DistillationLoss.row_targets`."""
        return chunked_targets(context, self.mapped, self.costs.relatedness.device)

    def on_targets(
        self,
        student: ModelOutputs,
        targets: Float[Tensor, "batch teachers_times_classes"],
        labels: Int[Tensor, " batch"],
    ) -> dict[str, Tensor]:
        """The term `label_map`; see `DistillationLoss.on_targets`."""
        with torch.autocast(student.features.device.type, enabled=False):
            log_predicted = (student_logits(student).float() / self.temperature).log_softmax(dim=1)
            factors = self.costs.factors()
            of_teachers = targets.float().unflatten(1, (len(factors), -1))
            divergences = F.kl_div(log_predicted[:, None], of_teachers, reduction="none").sum(dim=2).mean(dim=0)
            return {self.name: (factors * divergences).sum()}

    def strength(self) -> float:
        """Sum of the factors of all teachers."""
        return float(self.costs.factors().sum())

    def weights(self) -> tuple[float, ...]:
        """Factor of each teacher's term, in [0, 1]."""
        return tuple(self.costs.factors().tolist())

    def transport_map(self, context: LossContext) -> Float[Tensor, "teacher_classes target_classes"] | None:
        """The soft map of labels, each class of the first teacher with its share of the rows."""
        if not self.costs.used[0]:
            return None
        chunks = (outputs for _, outputs in context.teachers[0].chunks(CHUNK_ROWS))
        sums = [(teacher_logits(outputs).double() / self.temperature).softmax(dim=1).sum(dim=0) for outputs in chunks]
        return torch.stack(sums).sum(dim=0)[:, None] / len(context.teachers[0]) * self._map(0).double().cpu()
