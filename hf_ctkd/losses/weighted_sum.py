"""Several losses as one."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses.base import DistillationLoss, on_selected_rows
from hf_ctkd.records import Proportion
from hf_ctkd.types import LossContext, ModelOutputs, Needs


class WeightedSum(DistillationLoss):
    """Several losses at once, each of their terms times a weight.

    Use it to combine losses, also several of one class, or to give one loss a weight other than one. Every loss sees
    all teachers.

    Args:
        losses: loss -> its weight, or pairs of them; weights are positive.

    Raises:
        InvalidArgumentError: if there is no loss, a loss is listed twice, or a weight is not a positive number.

    Example:
        >>> from hf_ctkd import DistillationConfig, DistillationTrainer, RowTransportLoss, SpectralLoss, WeightedSum
        >>> loss = WeightedSum({RowTransportLoss(): 1.0, SpectralLoss(): 0.5})
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

    name: ClassVar[str] = "weighted_sum"

    def __init__(self, losses: Mapping[DistillationLoss, float] | Iterable[tuple[DistillationLoss, float]]) -> None:
        super().__init__()
        pairs = _checked(tuple(losses.items()) if isinstance(losses, Mapping) else tuple(losses))
        self.losses = tuple((loss, float(weight)) for loss, weight in pairs)
        self.parts = nn.ModuleList(loss for loss, _ in pairs)
        self.citation = "\n\n".join(dict.fromkeys(loss.citation for loss, _ in pairs))
        self._widths: list[int] = []
        self.teaches_labels = any(loss.teaches_labels for loss, _ in pairs)
        self.needs = Needs.NOTHING
        for loss, _ in pairs:
            self.needs |= loss.needs
        self.hidden = tuple(dict.fromkeys(pair for loss, _ in pairs for pair in loss.hidden))

    def setup(self, context: LossContext) -> None:
        """Set up every loss; see `DistillationLoss.setup`."""
        for loss, _ in self._weighted():
            loss.setup(self._context_of(loss, context))
        self._widths = self._target_widths(context)

    def row_targets(self, context: LossContext) -> Float[Tensor, "rows width"] | None:
        """The targets of all losses side by side, where every loss has some; see `DistillationLoss.row_targets`."""
        parts = []
        for loss, _ in self._weighted():
            targets = loss.row_targets(self._context_of(loss, context))
            if targets is None:
                return None
            parts.append(targets)
        return torch.cat(parts, dim=1)

    def on_targets(
        self, student: ModelOutputs, targets: Float[Tensor, "batch width"], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The weighted terms of all losses; see `forward` and `DistillationLoss.on_targets`."""
        parts = []
        for (loss, weight), columns in zip(self._weighted(), targets.split(self._widths, dim=1), strict=True):
            terms = loss.on_targets(self._part(student, loss), columns, labels)
            parts.append({name: weight * term for name, term in terms.items()})
        return self._by_name(parts)

    def select(self, student: ModelOutputs) -> Bool[Tensor, "batch teachers"] | None:
        """What any of the losses selects; see `DistillationLoss.select`."""
        union: Tensor | None = None
        for loss, _ in self._weighted():
            selected = loss.select(self._part(student, loss))
            if selected is None:
                return None
            union = selected if union is None else union | selected
        return union

    @property
    def selects_rows(self) -> bool:
        """Whether all of the losses select: one that reads every row reads it for all."""
        return all(loss.selects_rows for loss, _ in self._weighted())

    def after_step(self, total: Callable[[Tensor], Tensor]) -> None:
        """Call `after_step` of each loss; see `DistillationLoss.after_step`."""
        for loss, _ in self._weighted():
            loss.after_step(total)

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The weighted terms of all losses, with their index before names that collide; see the base class."""
        selected = self.select(student)
        parts = []
        for loss, weight in self._weighted():
            part = self._part(student, loss)
            outputs = on_selected_rows(
                tuple(self._part(teacher, loss) for teacher in teachers), loss.select(part), selected
            )
            parts.append({name: weight * term for name, term in loss(part, outputs, labels).items()})
        return self._by_name(parts)

    def task_factor(self) -> float:
        """The smallest task factor of the losses."""
        return min(loss.task_factor() for loss, _ in self._weighted())

    def strength(self) -> float:
        """The largest strength of the losses."""
        return max(loss.strength() for loss, _ in self._weighted())

    def weights(self) -> tuple[float, ...]:
        """Share of each teacher: the mean over the losses that know one, by their weight."""
        pairs = [(weight, loss.weights()) for loss, weight in self._weighted() if loss.weights()]
        total = sum(weight for weight, _ in pairs)
        return tuple(
            sum(weight * shares[index] for weight, shares in pairs) / total
            for index in range(len(pairs[0][1]) if pairs else 0)
        )

    def probe_accuracies(self) -> tuple[Proportion, ...]:
        """Those of the first loss that has any; see `DistillationLoss.probe_accuracies`."""
        return next((loss.probe_accuracies() for loss, _ in self._weighted() if loss.probe_accuracies()), ())

    def input_share(self) -> float:
        """The mean over the losses, by their weight."""
        pairs = self._weighted()
        return sum(weight * loss.input_share() for loss, weight in pairs) / sum(weight for _, weight in pairs)

    def diagnostics(self) -> dict[str, float]:
        """Those of all losses, with their index before names that collide."""
        return self._by_name([loss.diagnostics() for loss, _ in self._weighted()])

    def remarks(self) -> tuple[str, ...]:
        """Those of all losses, each once."""
        return tuple(dict.fromkeys(remark for loss, _ in self._weighted() for remark in loss.remarks()))

    def _weighted(self) -> list[tuple[DistillationLoss, float]]:
        # From the registered modules: a copy of this module has copies of its losses.
        weights = [weight for _, weight in self.losses]
        return [
            (loss, weight)
            for loss, weight in zip(self.parts, weights, strict=True)
            if isinstance(loss, DistillationLoss)
        ]

    def _part(self, outputs: ModelOutputs, loss: DistillationLoss) -> ModelOutputs:
        """Outputs with the layers that one loss asked for, where layers were handed over at all."""
        if not outputs.hidden:
            return outputs
        return replace(outputs, hidden=tuple(outputs.hidden[self.hidden.index(pair)] for pair in loss.hidden))

    def _context_of(self, loss: DistillationLoss, context: LossContext) -> LossContext:
        # Only outputs in memory hold hidden layers, which are not stored on disk.
        return replace(
            context,
            student=self._part(context.student, loss),
            teachers=tuple(
                self._part(teacher, loss) if isinstance(teacher, ModelOutputs) else teacher
                for teacher in context.teachers
            ),
        )

    def _target_widths(self, context: LossContext) -> list[int]:
        """Columns of each loss in `row_targets`, as its targets of one row have them; 0 for a loss without targets."""
        first = torch.arange(1)
        one_row = replace(
            context,
            labels=context.labels[:1],
            teachers=tuple(teacher.select(first) for teacher in context.teachers),
            inputs=None if context.inputs is None else context.inputs.select(first),
            targets=None if context.targets is None else context.targets[:1],
            student_rows=None if context.student_rows is None else context.student_rows.select(first),
            times_read=None if context.times_read is None else context.times_read[:1],
        )
        targets = [loss.row_targets(self._context_of(loss, one_row)) for loss, _ in self._weighted()]
        return [0 if columns is None else columns.shape[1] for columns in targets]

    @staticmethod
    def _by_name(parts: Sequence[Mapping]) -> dict:
        times = Counter(name for part in parts for name in part)
        return {
            name if times[name] == 1 else f"{index}_{name}": value
            for index, part in enumerate(parts)
            for name, value in part.items()
        }


def _checked(entries: tuple[object, ...]) -> tuple[tuple[DistillationLoss, float], ...]:
    if not entries:
        raise InvalidArgumentError("`losses` must hold at least one loss, got none.")
    pairs = []
    for entry in entries:
        if not (isinstance(entry, tuple) and len(entry) == 2):
            raise InvalidArgumentError(
                f"`losses` must hold losses with their weights, got {_described(entry)} alone. Write "
                "`WeightedSum({RowTransportLoss(): 1.0, SpectralLoss(): 0.5})`."
            )
        loss, weight = entry
        if not isinstance(loss, DistillationLoss):
            raise InvalidArgumentError(
                f"`losses` must hold losses with their weights, got {_described(loss)} for a loss. Pass an object such "
                "as `SpectralLoss()`."
            )
        if not (isinstance(weight, int | float) and math.isfinite(weight) and weight > 0):
            raise InvalidArgumentError(f"`losses` must have positive weights, got {weight!r} for {loss.name}.")
        pairs.append((loss, weight))
    if len({id(loss) for loss, _ in pairs}) < len(pairs):
        raise InvalidArgumentError("`losses` holds the same object twice. Make a second one, or add up its weights.")
    return tuple(pairs)


def _described(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
