"""Relationship matching: relations among rows, then soft labels from class centres, in a teacher's embedding."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses.base import DistillationLoss, require_teachers, student_logits
from hf_ctkd.probes.labelled import CHUNK_ROWS
from hf_ctkd.types import UNLABELLED, LossContext, ModelOutputs, Needs

_FACTORS: dict[str, tuple[float, float]] = {"embedding": (1.0, 0.0), "classifier": (0.0, 1.0), "both": (1.0, 1.0)}
"""Share of the first and of the second stage."""


class RelationshipMatchingLoss(DistillationLoss):
    """Teach the student how rows relate in a teacher's embedding, then which class centres they lie near there.

    *Embedding* stage: for each labelled anchor, the nearness of a row of its class and of rows of other classes that
    are hardly farther (semi-hard in the student's embedding) is matched to the nearness that the teacher sees.
    *Classifier* stage: the teacher's features times the centres of the target classes are soft labels for the student.
    Use it for teachers whose features separate the target's classes, with enough labels for several rows of a class in
    a batch; unlabelled rows take part in the second stage alone. With an unrelated teacher nothing holds its weight
    down: prefer `RowTransportLoss` there.

    Args:
        stage: "embedding", "classifier", "both" at once, or "schedule": the first, after `first_passes` the second.
        first_passes: forward passes in training that "schedule" gives to the first stage, not negative. Each process
            counts its own, and every micro-batch under accumulation.
        embedding_temperature: of the nearness in the first stage, positive.
        classifier_temperature: of the soft labels in the second stage, positive.
        margin: how much farther a semi-hard row may be, in squared distance of unit vectors, positive.

    Raises:
        InvalidArgumentError: an argument out of its range.

    Reference:
        Reconstructed from Ye, Lu and Zhan, "Distilling cross-task knowledge via relationship matching" (REFILLED), CVPR
        2020, and "Generalized knowledge distillation via relationship matching" (GKD), arXiv:2205.01915.

    Example:
        >>> from hf_ctkd import DistillationConfig, DistillationTrainer, RelationshipMatchingLoss
        >>> loss = RelationshipMatchingLoss("schedule", first_passes=500)
        >>> trainer = DistillationTrainer(  # doctest: +SKIP
        ...     model=student,
        ...     args=DistillationConfig("flowers-student", num_train_epochs=20),
        ...     processing_class=image_processor,
        ...     teachers=["facebook/dinov2-small"],
        ...     loss=loss,
        ...     train_dataset=flowers["train"],
        ... )
        >>> trainer.train()  # doctest: +SKIP
    """

    name: ClassVar[str] = "relationship"
    citation = """@misc{ye2022generalized,
  title = {Generalized Knowledge Distillation via Relationship Matching},
  author = {Ye, Han-Jia and Lu, Su and Zhan, De-Chuan},
  year = {2022},
  eprint = {2205.01915},
  archivePrefix = {arXiv},
  note = {Reconstructed}
}
"""
    needs = Needs.TEACHER | Needs.FEATURES | Needs.FIT
    passes: Tensor

    def __init__(
        self,
        stage: str = "both",
        *,
        first_passes: int = 1000,
        embedding_temperature: float = 4.0,
        classifier_temperature: float = 2.0,
        margin: float = 0.2,
    ) -> None:
        super().__init__()
        if stage not in (*_FACTORS, "schedule"):
            raise InvalidArgumentError(f"`stage` must be one of {', '.join(_FACTORS)}, schedule, got {stage!r}.")
        if first_passes < 0:
            raise InvalidArgumentError(f"`first_passes` must not be negative, got {first_passes}.")
        self.stage, self.first_passes, self.margin = stage, first_passes, margin
        self.embedding_temperature, self.classifier_temperature = embedding_temperature, classifier_temperature
        for name in ("embedding_temperature", "classifier_temperature", "margin"):
            if not vars(self)[name] > 0:
                raise InvalidArgumentError(f"`{name}` must be positive, got {vars(self)[name]}.")
        self.register_buffer("passes", torch.zeros((), dtype=torch.long))

    def setup(self, context: LossContext) -> None:
        """Compute the centres of the target classes in each teacher's embedding; see `DistillationLoss.setup`."""
        require_teachers(context, type(self).__name__)
        rows = (context.labels != UNLABELLED).nonzero()[:, 0]
        if not len(rows):
            raise InvalidArgumentError("`labels` must hold labels for RelationshipMatchingLoss, but every row is -100.")
        one_hot = F.one_hot(context.labels[rows], len(context.label_space)).float()
        self.register_buffer("labelled_classes", one_hot.any(dim=0))
        for index, teacher in enumerate(context.teachers):
            parts = zip(rows.split(CHUNK_ROWS), one_hot.split(CHUNK_ROWS), strict=True)
            sums = [members.T @ teacher.select(chunk).features.detach().float() for chunk, members in parts]
            centres = torch.stack(sums).sum(dim=0) / one_hot.sum(dim=0).clamp_min(1)[:, None]
            self.register_buffer(f"centres_{index}", centres)

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The terms `relationship_embedding` and `relationship_classifier`; see `DistillationLoss.forward`."""
        first, second = self._factors()
        result = {}
        with torch.autocast(student.features.device.type, enabled=False):
            if first is not None:
                terms = [self._embedding(student, teacher, labels) for teacher in teachers]
                result["relationship_embedding"] = first * torch.stack(terms).mean()
            if second is not None:
                terms = [self._classifier(student, teacher, index) for index, teacher in enumerate(teachers)]
                result["relationship_classifier"] = second * torch.stack(terms).mean()
        return result

    def _factors(self) -> tuple[float | Tensor | None, float | Tensor | None]:
        """What each stage is multiplied with; None for a stage that never comes."""
        if self.stage != "schedule":
            first, second = _FACTORS[self.stage]
            return first or None, second or None
        embedding = (self.passes < self.first_passes).float()
        if self.training:
            self.passes += 1
        # Both terms stay in the graph, so that distributed training finds every parameter in both stages.
        return embedding, 1 - embedding

    def _embedding(self, student: ModelOutputs, teacher: ModelOutputs, labels: Tensor) -> Float[Tensor, ""]:
        rows = labels != UNLABELLED
        student_distances = _squared_distances(student.features[rows].float())
        teacher_distances = _squared_distances(teacher.features.detach()[rows].float())
        tuples = semi_hard_tuples(student_distances.detach(), labels[rows], self.margin)
        anchors = tuples.any(dim=2).nonzero()[:, 0]
        chosen = tuples[tuples.any(dim=2)]
        if not len(chosen):
            return 0.0 * student.features.float().sum()
        predicted, target = (
            (-side[anchors] / self.embedding_temperature).masked_fill(~chosen, -torch.inf).log_softmax(dim=1)
            for side in (student_distances, teacher_distances)
        )
        # Outside a tuple both are minus infinity, whose difference is no number, nor its gradient.
        gap = torch.where(chosen, target.masked_fill(~chosen, 0) - predicted.masked_fill(~chosen, 0), 0)
        return (target.exp() * gap).sum(dim=1).mean()

    def _classifier(self, student: ModelOutputs, teacher: ModelOutputs, index: int) -> Float[Tensor, ""]:
        nearness = teacher.features.detach().float() @ self.get_buffer(f"centres_{index}").T
        nearness = nearness / self.classifier_temperature
        target = nearness.masked_fill(~self.get_buffer("labelled_classes"), -torch.inf).softmax(dim=1)
        return F.kl_div(student_logits(student).float().log_softmax(dim=1), target, reduction="batchmean")


def semi_hard_tuples(
    distances: Float[Tensor, "rows rows"], labels: Int[Tensor, " rows"], margin: float
) -> Bool[Tensor, "rows rows rows"]:
    """For each anchor and each other row of its class, that row and all rows of other classes that are hardly farther.

    Args:
        distances: between rows.
        labels: class ids, no row unlabelled.
        margin: how much farther than the row of its class.

    Returns:
        `[anchor, positive, member]`; all false where there is no such triplet.
    """
    same = labels[:, None] == labels[None, :]
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    reach = distances[:, :, None]
    negative = ~same[:, None, :] & (distances[:, None, :] > reach) & (distances[:, None, :] < reach + margin)
    tuples = negative & positive[:, :, None]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)[None]
    return tuples | (itself & tuples.any(dim=2, keepdim=True))


def _squared_distances(features: Float[Tensor, "rows width"]) -> Float[Tensor, "rows rows"]:
    unit = F.normalize(features, dim=1)
    return 2 - 2 * unit @ unit.T
