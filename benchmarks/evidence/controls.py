"""Teacher-free controls: what the same rows, labels and class shares give without anybody else's model."""

import hashlib
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from hf_ctkd.costs import estimate_prior, transport_rows
from hf_ctkd.demo.tasks import DemoTask
from hf_ctkd.losses import DistillationLoss, LossContext
from hf_ctkd.losses.base import require_logits, require_teachers, student_logits
from hf_ctkd.records import TeacherCandidate
from hf_ctkd.teachers import FeatureReader, Preprocessor, ProcessingClass, Teacher
from hf_ctkd.types import UNLABELLED, ModelOutputs, Needs


class SelfTrainingLoss(DistillationLoss):
    """KL from what an earlier student says of all rows to the present one; the "teacher" is that student.

    Args:
        transported: send all rows onto the classes by the same transport, with the same estimated class shares, as
            `TransportLoss` does.
        epsilon: of the transport, in nats, positive.
    """

    name: ClassVar[str] = "self_training"
    citation: ClassVar[str] = "Control"
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
            posterior = context.teachers[0].logits.float().log_softmax(dim=1)
            prior = estimate_prior(context.labels, len(context.label_space)).probabilities
            firmness = int((context.labels != UNLABELLED).sum()) / len(posterior)
            self.potential = transport_rows(posterior, prior, epsilon=self.epsilon, relax=firmness).potential

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        target = student_logits(teachers[0]).float().log_softmax(dim=1)
        if self.transported:
            target = ((target + self.potential) / self.epsilon).log_softmax(dim=1)
        predicted = student_logits(student).float().log_softmax(dim=1)
        return {self.name: F.kl_div(predicted, target, log_target=True, reduction="batchmean")}


class RawPixels(PreTrainedModel):
    """The student's own pixels as features."""

    config_class = PreTrainedConfig
    main_input_name = "pixel_values"

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(
        self,
        pixel_values: Float[Tensor, "batch channels height width"],
        output_hidden_states: bool = False,
        return_dict: bool = True,
    ) -> BaseModelOutputWithPooling:
        return BaseModelOutputWithPooling(pooler_output=pixel_values.flatten(1))


class WordCounts(PreTrainedModel):
    """Counts of the student's own tokens, each weighted by how rare it is, as features of length one."""

    config_class = PreTrainedConfig
    main_input_name = "input_ids"

    def __init__(self, config: PreTrainedConfig, rarity: Float[Tensor, " vocabulary"]) -> None:
        super().__init__(config)
        self.rarity = nn.Embedding.from_pretrained(rarity[:, None])

    def get_input_embeddings(self) -> nn.Module:
        return self.rarity

    def forward(
        self,
        input_ids: Int[Tensor, "batch length"],
        attention_mask: Int[Tensor, "batch length"],
        output_hidden_states: bool = False,
        return_dict: bool = True,
    ) -> BaseModelOutputWithPooling:
        rarity = self.rarity.weight[:, 0]
        weighted = token_counts(input_ids, attention_mask, len(rarity)) * rarity
        return BaseModelOutputWithPooling(last_hidden_state=F.normalize(weighted, dim=1)[:, None])


def token_counts(
    input_ids: Int[Tensor, "batch length"], attention_mask: Int[Tensor, "batch length"], vocabulary: int
) -> Float[Tensor, "batch vocabulary"]:
    counts = torch.zeros(len(input_ids), vocabulary)
    return counts.scatter_add_(1, input_ids, attention_mask.float())


def raw_input_teacher(task: DemoTask, processing_class: ProcessingClass, *, name: str) -> Teacher:
    """A "teacher" that knows nothing but the student's own input.

    Args:
        task: the target, whose training texts say how rare a token is.
        processing_class: the student's.
        name: tells apart the cached outputs of one target from those of another.
    """
    config = PreTrainedConfig()
    view = Preprocessor.of(processing_class, task.modality, config)
    model: PreTrainedModel = RawPixels(config)
    if task.modality == "text":
        batch = view(task.train()["text"][:])
        seen = token_counts(batch["input_ids"], batch["attention_mask"], len(processing_class)) > 0
        model = WordCounts(config, (len(seen) / (1 + seen.sum(0))).log().clamp_min(0.0))
    model.requires_grad_(False).eval()
    revision = hashlib.sha256(name.encode()).hexdigest()
    candidate = TeacherCandidate("raw-input", revision, source="folder")
    return Teacher(candidate, view, FeatureReader(model), None)
