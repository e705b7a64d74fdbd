"""The interactive mode of DiverseDistill: a question enters a teacher, and the layers above it answer."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from hf_ctkd.generic.families import additive_mask
from hf_ctkd.losses import CommitteeLoss, LossContext
from hf_ctkd.losses.base import evenly_spaced
from hf_ctkd.losses.committee_modules import HIDDEN, QUESTION, Answers, Linear
from hf_ctkd.probes.labelled import MAX_FITTING_ROWS
from hf_ctkd.types import ModelOutputs

ENTRY = 0
"""Layers of a teacher below the question: none, since the smallest of the zoo have one."""


class InteractiveCommittee(CommitteeLoss):
    """A committee whose transformer teachers read the question as one token more, from an intermediate layer on.

    Not in the library: the upper layers run at every step, so that nothing of an answer can be kept.

    Args:
        teachers: frozen encoders of texts, in the order in which the trainer is given them.
    """

    def __init__(self, teachers: Sequence[PreTrainedModel]) -> None:
        super().__init__(question=True)
        self.upper = tuple(layers_of(teacher)[ENTRY:] for teacher in teachers)  # a tuple: not to be trained or saved
        self.hidden = ((0, ENTRY),)

    def setup(self, context: LossContext) -> None:
        super().setup(context)
        width = context.student.features.shape[1]
        for index, (teacher, upper) in enumerate(zip(context.teachers, self.upper, strict=True)):
            generator = torch.Generator().manual_seed(context.seed + 1000 + index)
            outputs = evenly_spaced(teacher, MAX_FITTING_ROWS)
            self.members[index] = InteractiveAnswers(outputs, upper, width, generator)


class InteractiveAnswers(Answers):
    """Answers out of what the upper layers say once they have read the question, beside what all layers hold without.

    Args:
        outputs: of the teacher on some rows.
        upper: its layers behind the entry.
        width: of the student's features.
        generator: of the initial weights.
    """

    def __init__(
        self, outputs: ModelOutputs, upper: Sequence[nn.Module], width: int, generator: torch.Generator
    ) -> None:
        super().__init__(outputs, width, with_question=False, generator=generator)
        self.upper = tuple(upper)
        inner = next(upper[0].parameters()).shape[-1]
        self.token = Linear(QUESTION, inner, generator)
        source = len(self.rate) + 2 * inner
        self.network = nn.Sequential(Linear(source, HIDDEN, generator), nn.GELU(), Linear(HIDDEN, width, generator))

    def forward(
        self, outputs: ModelOutputs, question: Float[Tensor, "rows question"] | None
    ) -> Float[Tensor, "rows width"]:
        if question is None:
            raise ValueError("an interactive committee asks")
        entry = outputs.hidden[0]
        values = torch.cat([self.token(question)[:, None], entry.values.float()], dim=1)
        mask = torch.ones(entry.values.shape[:2], dtype=torch.bool) if entry.mask is None else entry.mask
        mask = torch.cat([mask.new_ones(len(mask), 1), mask], dim=1)
        for layer in self.upper:
            left = layer(values, additive_mask(mask, values.dtype))
            values = left if isinstance(left, Tensor) else left[0]
        answered = torch.cat([values[:, 0], _mean(values[:, 1:], mask[:, 1:])], dim=1)
        return self.network(torch.cat([self.standardised(outputs), answered], dim=1))


def _mean(
    values: Float[Tensor, "rows positions width"], mask: Bool[Tensor, "rows positions"]
) -> Float[Tensor, "rows width"]:
    weights = mask[..., None].to(values)
    return (values * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1)


def layers_of(model: PreTrainedModel) -> nn.ModuleList:
    """The layers of an encoder of texts."""
    base = model.base_model
    stack = getattr(base, "encoder", None) or getattr(base, "transformer", None)
    layers = getattr(stack, "layer", None)
    if not isinstance(layers, nn.ModuleList):
        raise ValueError(f"{type(model).__name__} has no layers that are known")
    return layers
