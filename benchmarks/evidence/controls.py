"""Teacher-free controls: what the same rows, labels and class shares give without anybody else's model."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from hf_ctkd.losses import DistillationLoss, LossContext
from hf_ctkd.losses.base import require_logits, require_teachers, student_logits
from hf_ctkd.ot import transport_rows
from hf_ctkd.probes import estimate_prior
from hf_ctkd.probes.labelled import CHUNK_ROWS
from hf_ctkd.types import UNLABELLED, ModelOutputs, Needs


class SelfTrainingLoss(DistillationLoss):
    """KL from what an earlier student says of all rows to the present one; the "teacher" is that student.

    Args:
        transported: send all rows onto the classes by the same transport, with the same estimated class shares, as
            `RowTransportLoss` does.
        epsilon: of the transport, in nats, positive.
    """

    name: ClassVar[str] = "self_training"
    teaches_labels = True
    citation = "Control"
    needs = Needs.TEACHER | Needs.FIT | Needs.LOGITS
    potential: Tensor

    def __init__(self, *, transported: bool, epsilon: float = 0.25) -> None:
        super().__init__()
        self.transported, self.epsilon = transported, epsilon
        self.register_buffer("potential", torch.zeros(0))

    def setup(self, context: LossContext) -> None:
        require_teachers(context, "self-training")
        require_logits(context, "self-training")
        if self.transported:
            logits = [student_logits(outputs) for _, outputs in context.teachers[0].chunks(CHUNK_ROWS)]
            posterior = torch.cat(logits).float().log_softmax(dim=1)
            prior = estimate_prior(context.labels, len(context.label_space))
            firmness = int((context.labels != UNLABELLED).sum()) / len(posterior)
            self.potential = transport_rows(posterior, prior, epsilon=self.epsilon, prior_strength=firmness).potential

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        target = student_logits(teachers[0]).float().log_softmax(dim=1)
        if self.transported:
            target = ((target + self.potential) / self.epsilon).log_softmax(dim=1)
        predicted = student_logits(student).float().log_softmax(dim=1)
        return {self.name: F.kl_div(predicted, target, log_target=True, reduction="batchmean")}
