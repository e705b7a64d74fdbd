"""Relationship matching: relations among rows, then soft labels from class centres, in a teacher's embedding."""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses.base import (
    DistillationLoss,
    labelled_share_read,
    require_teachers,
    require_weight,
    student_logits,
)
from hf_ctkd.probes.centres import leave_one_out_accuracy, unit_centres
from hf_ctkd.probes.labelled import CHUNK_ROWS, fitting_rows
from hf_ctkd.types import UNLABELLED, LossContext, ModelOutputs, Needs

UNLABELLED_ROWS = ("gated", "all", "none")
_SMALLEST_SQUARE = 1e-12


class RelationshipMatchingLoss(DistillationLoss):
    """Teach the student how rows relate in a teacher's embedding, then which class centres they lie near there.

    *First phase*, without the task loss: for each labelled anchor, the nearness of a row of its class and of rows of
    other classes that are hardly farther (semi-hard in the student's embedding) is matched to the nearness that the
    teacher sees. Distances are Euclidean, between features of length one. *Second phase*, beside the task loss: the
    teacher's features times the unit-length centres of the target classes are soft labels for the student.

    An unlabelled row takes part in the second phase only if the teacher passes a gate: its centres classify labelled
    rows, each left out of its centre, better than the centres of the student's input features do, and better than
    those of the untrained student's features.

    Use it for teachers whose features separate the target's classes, with enough labels for several rows of a class in
    a batch. With an unrelated teacher nothing but the gate holds its weight down: prefer `RowTransportLoss` there.

    Args:
        embedding_share: share of the optimiser steps in the first phase, in [0, 1); 0 leaves it out.
        weight: of the second phase, positive.
        embedding_weight: of the first phase, positive; divergences of softened distances are small numbers.
        embedding_temperature: of the nearness in the first phase, positive.
        classifier_temperature: of the teacher's soft labels in the second phase, positive.
        margin: how much farther a semi-hard row may be, positive.
        unlabelled_rows: "gated", "all" or "none" in the second phase.

    Raises:
        InvalidArgumentError: an argument out of its range.

    Reference:
        Reconstructed from Ye, Lu and Zhan, "Distilling cross-task knowledge via relationship matching" (REFILLED), CVPR
        2020, and "Generalized knowledge distillation via relationship matching" (GKD), arXiv:2205.01915. Theirs keeps
        the epoch of the first phase with the best class means, gives it as many epochs as the second, and compares
        classes of the batch alone; the gate is ours.

    Example:
        >>> from hf_ctkd import DistillationConfig, DistillationTrainer, RelationshipMatchingLoss
        >>> loss = RelationshipMatchingLoss(embedding_share=0.5)
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
  note = {Reconstructed; the gate of unlabelled rows is an addition of hf_ctkd}
}
"""
    needs = Needs.TEACHER | Needs.FEATURES | Needs.FIT
    steps_taken: Tensor
    accuracies: Tensor
    baseline_accuracy: Tensor
    labelled_share: Tensor

    def __init__(
        self,
        embedding_share: float = 0.3,
        *,
        weight: float = 1.0,
        embedding_weight: float = 1000.0,
        embedding_temperature: float = 4.0,
        classifier_temperature: float = 1.0,
        margin: float = 0.2,
        unlabelled_rows: str = "gated",
    ) -> None:
        super().__init__()
        if not 0 <= embedding_share < 1:
            raise InvalidArgumentError(f"`embedding_share` must lie in [0, 1), got {embedding_share}.")
        if unlabelled_rows not in UNLABELLED_ROWS:
            raise InvalidArgumentError(
                f"`unlabelled_rows` must be one of {', '.join(UNLABELLED_ROWS)}, got {unlabelled_rows!r}."
            )
        require_weight(weight)
        self.embedding_share, self.weight, self.margin = embedding_share, weight, margin
        self.embedding_weight, self.embedding_temperature = embedding_weight, embedding_temperature
        self.classifier_temperature, self.unlabelled_rows = classifier_temperature, unlabelled_rows
        for name in ("embedding_weight", "embedding_temperature", "classifier_temperature", "margin"):
            if not vars(self)[name] > 0:
                raise InvalidArgumentError(f"`{name}` must be positive, got {vars(self)[name]}.")
        if unlabelled_rows == "gated":
            self.needs |= Needs.INPUT
        self._embedding_steps = 0
        # The host's copy of `steps_taken`, so that no step waits for the device; None after a checkpoint was loaded.
        self._steps_on_host: int | None = 0
        self.register_load_state_dict_post_hook(_forget_steps)
        self.register_buffer("steps_taken", torch.zeros((), dtype=torch.long))
        self.register_buffer("accuracies", torch.zeros(0))
        self.register_buffer("baseline_accuracy", torch.zeros(()))
        self.register_buffer("labelled_share", torch.ones(()))

    def setup(self, context: LossContext) -> None:
        """Compute the class centres in each teacher's embedding, and the gate; see `DistillationLoss.setup`.

        Raises:
            InvalidArgumentError: without a teacher or a label, or if the number of steps is not known.
        """
        require_teachers(context, type(self).__name__)
        if not bool((context.labels != UNLABELLED).any()):
            raise InvalidArgumentError("`labels` must hold labels for RelationshipMatchingLoss, but every row is -100.")
        if self.embedding_share and context.steps is None:
            raise InvalidArgumentError(
                "`embedding_share` is a share of the training, but `steps` of the context is None. Pass the number of "
                "optimiser steps; DistillationTrainer does."
            )
        self._embedding_steps = math.ceil(self.embedding_share * (context.steps or 0))
        self.labelled_share = labelled_share_read(context)
        self._set_centres(context)
        if self.unlabelled_rows == "gated":
            self._set_gate(context)

    def _set_centres(self, context: LossContext) -> None:
        rows = (context.labels != UNLABELLED).nonzero()[:, 0]
        one_hot = F.one_hot(context.labels[rows], len(context.label_space)).float()
        self.register_buffer("labelled_classes", one_hot.any(dim=0))
        for index, teacher in enumerate(context.teachers):
            parts = zip(rows.split(CHUNK_ROWS), one_hot.split(CHUNK_ROWS), strict=True)
            sums = [members.T @ teacher.select(chunk).features.detach().float() for chunk, members in parts]
            self.register_buffer(f"centres_{index}", unit_centres(torch.stack(sums).sum(dim=0)))

    def _set_gate(self, context: LossContext) -> None:
        rows = fitting_rows(context.labels, context.seed)
        labels, n_classes = context.labels[rows], len(context.label_space)
        baselines = [] if context.inputs is None else [context.inputs.select(rows).features]
        if context.student_rows is not None:
            baselines.append(context.student_rows.select(rows).features)
        if not baselines:
            raise InvalidArgumentError(
                "`unlabelled_rows` is gated, but the context has neither `inputs` nor `student_rows` to compare a "
                "teacher with. Pass them, or choose 'none'."
            )
        accuracies = [
            leave_one_out_accuracy(teacher.select(rows).features, labels, n_classes) for teacher in context.teachers
        ]
        self.accuracies = torch.tensor(accuracies)
        self.baseline_accuracy = torch.tensor(
            max(leave_one_out_accuracy(features, labels, n_classes) for features in baselines)
        )

    @property
    def in_first_phase(self) -> bool:
        """Whether the next optimiser step belongs to the first phase."""
        if self._steps_on_host is None:
            self._steps_on_host = int(self.steps_taken)
        return self._steps_on_host < self._embedding_steps

    def task_factor(self) -> float:
        """0 in the first phase, then 1; see `DistillationLoss.task_factor`."""
        return 0.0 if self.in_first_phase else 1.0

    def after_step(self, total: object) -> None:
        """Count the optimiser step; see `DistillationLoss.after_step`."""
        self.steps_taken += 1
        self._steps_on_host = None if self._steps_on_host is None else self._steps_on_host + 1

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The terms `relationship_embedding` and `relationship_classifier`; see `DistillationLoss.forward`.

        The term of the other phase is zero.
        """
        with torch.autocast(student.features.device.type, enabled=False):
            # Zero, but in the graph, so that distributed training finds every parameter in both phases.
            first, second = 0.0 * student.features.float().sum(), 0.0 * student_logits(student).float().sum()
            if self.in_first_phase:
                terms = [self._embedding(student, teacher, labels) for teacher in teachers]
                first = self.embedding_weight * torch.stack(terms).mean()
            else:
                terms = [self._classifier(student, teacher, index, labels) for index, teacher in enumerate(teachers)]
                second = self.weight * torch.stack(terms).mean()
        return {"relationship_embedding": first, "relationship_classifier": second}

    def _embedding(self, student: ModelOutputs, teacher: ModelOutputs, labels: Tensor) -> Float[Tensor, ""]:
        rows = labels != UNLABELLED
        student_distances = _unit_distances(student.features[rows].float())
        teacher_distances = _unit_distances(teacher.features.detach()[rows].float())
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

    def _classifier(
        self, student: ModelOutputs, teacher: ModelOutputs, index: int, labels: Tensor
    ) -> Float[Tensor, ""]:
        nearness = teacher.features.detach().float() @ self.get_buffer(f"centres_{index}").T
        nearness = nearness / self.classifier_temperature
        target = nearness.masked_fill(~self.get_buffer("labelled_classes"), -torch.inf).softmax(dim=1)
        log_predicted = student_logits(student).float().log_softmax(dim=1)
        divergence = F.kl_div(log_predicted, target, reduction="none").sum(dim=1)
        # By the expected number of labelled rows: in expectation a mean over them, however a step is split.
        of_labelled = torch.where(labels != UNLABELLED, divergence, 0.0).sum() / (len(labels) * self.labelled_share)
        if self.unlabelled_rows == "gated":  # decided on the device, which no step waits for
            return torch.where(self.accuracies[index] > self.baseline_accuracy, divergence.mean(), of_labelled)
        return divergence.mean() if self.unlabelled_rows == "all" else of_labelled

    def teaches_unlabelled(self, teacher: int) -> bool:
        """Whether unlabelled rows take part in the second phase with this teacher.

        Args:
            teacher: its index.
        """
        if self.unlabelled_rows == "gated":
            return bool(self.accuracies[teacher] > self.baseline_accuracy)
        return self.unlabelled_rows == "all"

    def diagnostics(self) -> dict[str, float]:
        """Leave-one-out accuracy of each teacher's centres, and the highest without a teacher, which is the gate."""
        if not len(self.accuracies):
            return {}
        accuracies = {f"{self.name}/accuracy_{index}": value for index, value in enumerate(self.accuracies.tolist())}
        return accuracies | {f"{self.name}/accuracy_without_teacher": float(self.baseline_accuracy)}


def _forget_steps(loss: nn.Module, _: object) -> None:
    """After a checkpoint was loaded, the number of steps is that of the buffer."""
    if isinstance(loss, RelationshipMatchingLoss):
        loss._steps_on_host = None


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
    negative = ~same[:, None, :] & (distances[:, None, :] > reach) & (distances[:, None, :] <= reach + margin)
    tuples = negative & positive[:, :, None]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)[None]
    return tuples | (itself & tuples.any(dim=2, keepdim=True))


def _unit_distances(features: Float[Tensor, "rows width"]) -> Float[Tensor, "rows rows"]:
    """Euclidean distances between features scaled to length one; equal rows have a gradient of zero."""
    unit = F.normalize(features, dim=1)
    return (2 - 2 * unit @ unit.T).clamp_min(_SMALLEST_SQUARE).sqrt()
