"""Distillation of predictions between models that share classes, all or some."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses.base import (
    DistillationLoss,
    chunked_targets,
    require_logits,
    require_teachers,
    student_logits,
    teacher_logits,
)
from hf_ctkd.types import LabelSpace, LossContext, ModelOutputs, Needs


class KLLoss(DistillationLoss):
    """KL from the teachers' softened predictions to the student's, over the classes that both have.

    Use it when teacher and target share their classes; for other tasks use `RowTransportLoss`. Where they share some,
    or a `mapping` joins several of a teacher's classes into one, the student is compared over the target classes that
    the teacher knows, and each row counts as far as the teacher's probability lies on classes that map anywhere.

    Args:
        temperature: of both predictions, positive; the loss is multiplied by its square.
        mapping: name of a teacher's class -> name of the target's class; several may map to one, and those left out are
            ignored. None matches equal names, whatever their case where that leaves no doubt.

    Raises:
        InvalidArgumentError: `temperature` is not positive.

    Reference:
        After Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", arXiv:1503.02531; the mapping of
        classes is an addition.

    Example:
        >>> from hf_ctkd import DistillationConfig, DistillationTrainer, KLLoss
        >>> loss = KLLoss(temperature=2.0, mapping={"tabby": "cat", "Siamese cat": "cat", "beagle": "dog"})
        >>> trainer = DistillationTrainer(  # doctest: +SKIP
        ...     model=student,
        ...     args=DistillationConfig("pets-student", num_train_epochs=20),
        ...     processing_class=image_processor,
        ...     teachers=["microsoft/resnet-50"],
        ...     loss=loss,
        ...     train_dataset=pets["train"],
        ... )
        >>> trainer.train()  # doctest: +SKIP
    """

    name: ClassVar[str] = "kl"
    teaches_labels = True
    citation = """@misc{hinton2015distilling,
  title = {Distilling the Knowledge in a Neural Network},
  author = {Hinton, Geoffrey and Vinyals, Oriol and Dean, Jeff},
  year = {2015},
  eprint = {1503.02531},
  archivePrefix = {arXiv},
  note = {After this paper; the mapping of classes is an addition of hf_ctkd}
}
"""
    needs = Needs.TEACHER | Needs.LOGITS

    def __init__(self, temperature: float = 4.0, *, mapping: Mapping[str, str] | None = None) -> None:
        super().__init__()
        if not temperature > 0:
            raise InvalidArgumentError(f"`temperature` must be positive, got {temperature}.")
        self.temperature = temperature
        self.mapping = None if mapping is None else dict(mapping)
        self._teachers = 0

    def setup(self, context: LossContext) -> None:
        """Match the classes of each teacher with the target's; see `DistillationLoss.setup`.

        Raises:
            InvalidArgumentError: if a teacher has no head, or fewer than two target classes are matched.
        """
        require_teachers(context, type(self).__name__)
        require_logits(context, type(self).__name__)
        self._check_mapping(context)
        for index, space in enumerate(context.teacher_label_spaces):
            if space is not None:
                self.register_buffer(f"matches_{index}", self._matches(space, context.label_space, index))
        self._teachers = len(context.teachers)

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The term `kl`; see `DistillationLoss.forward`."""
        with torch.autocast(student.features.device.type, enabled=False):
            targets = torch.cat([self._joined(teacher, index) for index, teacher in enumerate(teachers)], dim=1)
        return self.on_targets(student, targets, labels)

    def row_targets(self, context: LossContext) -> Float[Tensor, "rows teachers_times_classes"] | None:
        """Log probabilities of the matched classes by each teacher, side by side, where all rows' outputs are given.

        See `DistillationLoss.row_targets`.
        """
        if any(len(teacher) != len(context.labels) for teacher in context.teachers):
            return None
        return chunked_targets(context, self._joined, self.get_buffer("matches_0").device)

    def on_targets(
        self,
        student: ModelOutputs,
        targets: Float[Tensor, "batch teachers_times_classes"],
        labels: Int[Tensor, " batch"],
    ) -> dict[str, Tensor]:
        """The term `kl`; see `DistillationLoss.on_targets`."""
        with torch.autocast(student.features.device.type, enabled=False):
            logits = student_logits(student).float() / self.temperature
            matched = torch.stack([self.get_buffer(f"matches_{i}").any(dim=0) for i in range(self._teachers)])
            # Classes without a match are masked, not selected: a boolean index would wait for the device.
            log_predicted = logits[:, None].masked_fill(~matched, -torch.inf).log_softmax(dim=2)
            log_joined = targets.float().unflatten(1, matched.shape).masked_fill(~matched, -torch.inf)
            log_covered = log_joined.logsumexp(dim=2, keepdim=True)
            gap = (log_joined - log_covered - log_predicted).masked_fill(~matched, 0.0)
            # KL over the matched classes times the probability that the teacher gives them:
            # p(v) / p(matched) * p(matched) = p(v).
            divergence = (log_joined.exp() * gap).sum(dim=2).mean()
            return {self.name: self.temperature**2 * divergence}

    def _joined(self, teacher: ModelOutputs, index: int) -> Float[Tensor, "batch classes"]:
        """Log of the summed probability of the teacher's classes that match each target class.

        In logarithms, as the matched classes may hold almost nothing of a confident teacher's probability: relative to
        the most probable matched class, so that one matrix product in 32 bits does.
        """
        matches = self.get_buffer(f"matches_{index}")
        log_probabilities = (teacher_logits(teacher).float() / self.temperature).log_softmax(dim=1)
        log_probabilities = log_probabilities.masked_fill(~matches.any(dim=1), -torch.inf)
        largest = log_probabilities.amax(dim=1, keepdim=True)
        joined = (log_probabilities - largest).exp() @ matches.float()
        return joined.clamp_min(torch.finfo(joined.dtype).tiny).log() + largest

    def _matches(self, teacher: LabelSpace, target: LabelSpace, index: int) -> Bool[Tensor, "teacher_classes classes"]:
        if self.mapping is None:
            pairs = _pairs_by_name(teacher, target, index)
        else:
            pairs = _pairs_by_mapping(teacher, target, self.mapping)
        matches = torch.zeros(len(teacher), len(target), dtype=torch.bool)
        rows, columns = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).unbind(dim=1)
        matches[rows, columns] = True
        matched = int(matches.any(dim=0).sum())
        if matched < 2:
            raise InvalidArgumentError(
                f"`teachers` must share at least two classes with the target for KLLoss, but teacher {index} shares "
                f"{matched}. Pass `mapping`, or use RowTransportLoss, which needs no shared class."
            )
        return matches

    def _check_mapping(self, context: LossContext) -> None:
        teacher_names = {name for space in context.teacher_label_spaces if space is not None for name in space.names}
        target_names = set(context.label_space.names)
        for teacher_name, target_name in (self.mapping or {}).items():
            if target_name not in target_names:
                raise InvalidArgumentError(
                    f"`mapping` leads to {target_name!r}, but the target has no class of that name. Use one of its "
                    "class names."
                )
            if teacher_name not in teacher_names:
                raise InvalidArgumentError(
                    f"`mapping` starts at {teacher_name!r}, but no teacher has a class of that name. Use one of the "
                    "teachers' class names."
                )


def _pairs_by_name(teacher: LabelSpace, target: LabelSpace, index: int) -> list[tuple[int, int]]:
    if not (teacher.informative and target.informative) and teacher.names != target.names:
        raise InvalidArgumentError(
            f"`teachers` must name their classes for KLLoss, but those of teacher {index} or of the target are mere "
            "numbers and differ. Pass `mapping`."
        )
    pairs: set[tuple[int, int]] = set()
    for spelling in (str, str.strip, _folded):
        rows, columns = _unambiguous(teacher, spelling), _unambiguous(target, spelling)
        pairs |= {(rows[name], columns[name]) for name in rows.keys() & columns.keys()}
    return sorted(pairs)


def _folded(name: str) -> str:
    return name.strip().lower()


def _unambiguous(space: LabelSpace, spelling: Callable[[str], str]) -> dict[str, int]:
    """Spelling -> class id, for spellings that one class has: A and a are two classes where a space has both."""
    spelt = [spelling(name) for name in space.names]
    counts = Counter(spelt)
    return {name: class_id for class_id, name in enumerate(spelt) if counts[name] == 1}


def _pairs_by_mapping(teacher: LabelSpace, target: LabelSpace, mapping: Mapping[str, str]) -> list[tuple[int, int]]:
    rows, columns = (dict(zip(space.names, range(len(space)), strict=True)) for space in (teacher, target))
    return [
        (rows[teacher_name], columns[target_name])
        for teacher_name, target_name in mapping.items()
        if teacher_name in rows
    ]
