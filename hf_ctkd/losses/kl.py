"""Distillation of predictions between models that share classes, all or some."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses.base import DistillationLoss, require_logits, require_teachers, student_logits, teacher_logits
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
        After Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", arXiv:1503.02531; the mapping is
        ours.

    Example:
        >>> import torch
        >>> from hf_ctkd.losses import KLLoss, LossContext
        >>> from hf_ctkd.types import LabelSpace, ModelOutputs
        >>> teacher = ModelOutputs(torch.zeros(2, 1), torch.tensor([[5.0, 0.0, 0.0], [0.0, 0.0, 5.0]]))
        >>> student = ModelOutputs(torch.zeros(2, 1), torch.tensor([[5.0, 0.0], [0.0, 5.0]]))
        >>> loss = KLLoss(temperature=1.0, mapping={"tabby": "cat", "siamese": "cat", "beagle": "dog"})
        >>> spaces = LabelSpace(("cat", "dog")), LabelSpace(("tabby", "siamese", "beagle"))
        >>> labels = torch.tensor([0, 1])
        >>> loss.setup(LossContext(labels, spaces[0], student, (teacher,), (spaces[1],)))
        >>> loss(student, (teacher,), labels)["kl"] < 0.01
        tensor(True)
    """

    name: ClassVar[str] = "kl"
    citation: ClassVar[str] = (
        "Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, arXiv:1503.02531 (after)"
    )
    needs = Needs.TEACHER | Needs.LOGITS

    def __init__(self, temperature: float = 4.0, *, mapping: Mapping[str, str] | None = None) -> None:
        super().__init__()
        if not temperature > 0:
            raise InvalidArgumentError(f"`temperature` must be positive, got {temperature}.")
        self.temperature = temperature
        self.mapping = None if mapping is None else dict(mapping)

    def setup(self, context: LossContext) -> None:
        """Match the classes of each teacher with the target's; see `DistillationLoss.setup`.

        Raises:
            InvalidArgumentError: if a teacher has no head, or fewer than two target classes are matched.
        """
        require_teachers(context, type(self).__name__)
        require_logits(context, type(self).__name__)
        self._check_mapping(context)
        for place, space in enumerate(context.teacher_label_spaces):
            if space is not None:
                self.register_buffer(f"map_{place}", self._members(space, context.label_space, place))

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The term `kl`; see `DistillationLoss.forward`."""
        with torch.autocast(student.features.device.type, enabled=False):
            logits = student_logits(student).float() / self.temperature
            found = [
                self._divergence(logits, teacher_logits(teacher).float() / self.temperature, place)
                for place, teacher in enumerate(teachers)
            ]
            return {self.name: self.temperature**2 * torch.stack(found).mean()}

    def _divergence(
        self, ours: Float[Tensor, "batch classes"], theirs: Float[Tensor, "batch teacher_classes"], place: int
    ) -> Float[Tensor, ""]:
        members = self.get_buffer(f"map_{place}")
        known = members.any(dim=0)
        predicted = ours.masked_fill(~known, -torch.inf).log_softmax(dim=1)[:, known]
        # In logarithms: the matched classes may hold next to nothing of a confident teacher's probability.
        said = _joined(theirs.log_softmax(dim=1), members[:, known])
        covered = said.logsumexp(dim=1, keepdim=True)
        target = said - covered
        return ((target - predicted) * target.exp() * covered.exp()).sum(dim=1).mean()

    def _members(self, teacher: LabelSpace, target: LabelSpace, place: int) -> Tensor:
        pairs = _by_name(teacher, target, place) if self.mapping is None else _by_mapping(teacher, target, self.mapping)
        members = torch.zeros(len(teacher), len(target), dtype=torch.bool)
        for row, column in pairs:
            members[row, column] = True
        if int(members.any(dim=0).sum()) < 2:
            raise InvalidArgumentError(
                f"`teachers` must share at least two classes with the target for KLLoss, but teacher {place} shares "
                f"{int(members.any(dim=0).sum())}. Pass `mapping`, or use RowTransportLoss, which needs no shared "
                "class."
            )
        return members

    def _check_mapping(self, context: LossContext) -> None:
        theirs = {name for space in context.teacher_label_spaces if space is not None for name in space.names}
        for source, ours in (self.mapping or {}).items():
            if ours not in context.label_space.names:
                raise InvalidArgumentError(f"`mapping` leads to {ours!r}, but the target has no class of that name.")
            if source not in theirs:
                raise InvalidArgumentError(f"`mapping` starts at {source!r}, but no teacher has a class of that name.")


def _by_name(teacher: LabelSpace, target: LabelSpace, place: int) -> list[tuple[int, int]]:
    if not (teacher.informative and target.informative) and teacher.names != target.names:
        raise InvalidArgumentError(
            f"`teachers` must name their classes for KLLoss, but those of teacher {place} or of the target are mere "
            "numbers and differ. Pass `mapping`."
        )
    pairs: set[tuple[int, int]] = set()
    for spelling in (str, str.strip, _folded):
        theirs, ours = _places(teacher, spelling), _places(target, spelling)
        pairs |= {(theirs[name], ours[name]) for name in theirs.keys() & ours.keys()}
    return sorted(pairs)


def _folded(name: str) -> str:
    return name.strip().lower()


def _places(space: LabelSpace, spelling: Callable[[str], str]) -> dict[str, int]:
    """Place of every class that no other is spelt like: A and a are two classes where a space has both."""
    spelt = [spelling(name) for name in space.names]
    counts = Counter(spelt)
    return {name: place for place, name in enumerate(spelt) if counts[name] == 1}


def _by_mapping(teacher: LabelSpace, target: LabelSpace, mapping: Mapping[str, str]) -> list[tuple[int, int]]:
    return [
        (teacher.names.index(theirs), target.names.index(ours))
        for theirs, ours in mapping.items()
        if theirs in teacher.names
    ]


def _joined(
    log_probabilities: Float[Tensor, "batch teacher_classes"], members: Tensor
) -> Float[Tensor, "batch known_classes"]:
    """Log of the summed probabilities of the teacher's classes that map to each target class."""
    return torch.stack([log_probabilities[:, column].logsumexp(dim=1) for column in members.T], dim=1)
