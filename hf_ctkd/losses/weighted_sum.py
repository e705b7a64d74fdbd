"""Several losses as one."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from jaxtyping import Bool, Int
from torch import Tensor, nn

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses.base import DistillationLoss, on_chosen
from hf_ctkd.types import LossContext, ModelOutputs, Needs


class WeightedSum(DistillationLoss):
    """Several losses at once, each of their terms times a weight.

    Use it to combine losses, also with themselves, or to give one loss a weight other than one. Every loss sees all
    teachers.

    Args:
        losses: loss -> its weight, or pairs of them; weights are positive.

    Raises:
        InvalidArgumentError: if there is no loss, one stands twice, or a weight is not a positive number.

    Example:
        >>> import torch
        >>> from hf_ctkd.losses import BSSLoss, SpectralLoss, WeightedSum
        >>> from hf_ctkd.types import ModelOutputs
        >>> loss = WeightedSum({BSSLoss(weight=1.0): 0.5, SpectralLoss(rank=1, function="ratio", weight=1.0): 2.0})
        >>> loss(ModelOutputs(torch.diag(torch.tensor([2.0, 1.0]))), (), torch.tensor([0, 1]))
        {'bss': tensor(0.2500), 'spectral': tensor(0.4000)}
    """

    name: ClassVar[str] = "weighted_sum"
    citation: ClassVar[str] = "As its parts"

    def __init__(self, losses: Mapping[DistillationLoss, float] | Sequence[tuple[DistillationLoss, float]]) -> None:
        super().__init__()
        pairs = tuple(losses.items()) if isinstance(losses, Mapping) else tuple(losses)
        _check(pairs)
        self.losses = tuple((loss, float(weight)) for loss, weight in pairs)
        self.parts = nn.ModuleList(loss for loss, _ in pairs)
        self.needs = Needs.NOTHING
        for loss, _ in pairs:
            self.needs |= loss.needs
        self.hidden = tuple(dict.fromkeys(pair for loss, _ in pairs for pair in loss.hidden))

    def setup(self, context: LossContext) -> None:
        """Set up every loss; see `DistillationLoss.setup`."""
        for loss, _ in self._weighted():
            loss.setup(
                replace(
                    context,
                    student=self._part(context.student, loss),
                    teachers=tuple(self._part(teacher, loss) for teacher in context.teachers),
                )
            )

    def select(self, student: ModelOutputs) -> Bool[Tensor, "batch teachers"] | None:
        """What any of the losses chooses; see `DistillationLoss.select`."""
        found: Tensor | None = None
        for loss, _ in self._weighted():
            chosen = loss.select(self._part(student, loss))
            if chosen is None:
                return None
            found = chosen if found is None else found | chosen
        return found

    def after_step(self, total: Callable[[Tensor], Tensor]) -> None:
        """Each of the losses; see `DistillationLoss.after_step`."""
        for loss, _ in self._weighted():
            loss.after_step(total)

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The weighted terms of all losses, after their place where names collide; see `DistillationLoss.forward`."""
        given = self.select(student)
        found = []
        for loss, weight in self._weighted():
            own = self._part(student, loss)
            theirs = on_chosen(tuple(self._part(one, loss) for one in teachers), loss.select(own), given)
            found.append({name: weight * term for name, term in loss(own, theirs, labels).items()})
        return self._by_name(found)

    def strength(self) -> float:
        """That of the strongest."""
        return max(loss.strength() for loss, _ in self._weighted())

    def weights(self) -> tuple[float, ...]:
        """Share of each teacher: the mean over the losses that know one, by their weight."""
        known = [(weight, loss.weights()) for loss, weight in self._weighted() if loss.weights()]
        total = sum(weight for weight, _ in known)
        return tuple(
            sum(weight * shares[place] for weight, shares in known) / total
            for place in range(len(known[0][1]) if known else 0)
        )

    def input_share(self) -> float:
        """The mean over the losses, by their weight."""
        pairs = self._weighted()
        return sum(weight * loss.input_share() for loss, weight in pairs) / sum(weight for _, weight in pairs)

    def diagnostics(self) -> dict[str, float]:
        """Those of all losses, after their place where names collide."""
        return self._by_name([loss.diagnostics() for loss, _ in self._weighted()])

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

    @staticmethod
    def _by_name(parts: Sequence[Mapping]) -> dict:
        times = Counter(name for part in parts for name in part)
        return {
            name if times[name] == 1 else f"{place}_{name}": value
            for place, part in enumerate(parts)
            for name, value in part.items()
        }


def _check(pairs: tuple[tuple[DistillationLoss, float], ...]) -> None:
    if not pairs:
        raise InvalidArgumentError("`losses` must hold at least one loss, got none.")
    for loss, weight in pairs:
        if not isinstance(loss, DistillationLoss):
            raise InvalidArgumentError(f"`losses` must hold losses with their weights, got {loss!r} for a loss.")
        if not (math.isfinite(weight) and weight > 0):
            raise InvalidArgumentError(f"`losses` must have positive weights, got {weight} for {loss.name}.")
    if len({id(loss) for loss, _ in pairs}) < len(pairs):
        raise InvalidArgumentError("`losses` holds the same object twice. Make a second one, or add up its weights.")
