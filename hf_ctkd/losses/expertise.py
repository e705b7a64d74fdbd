"""What is known of the members of a committee before training: how much, and what they say of the target classes."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hf_ctkd.costs import LayeredReadout, Readout, estimate_prior, gain_shares, read_layers, transport_rows, views
from hf_ctkd.losses.base import LossContext
from hf_ctkd.losses.questions import mixed
from hf_ctkd.types import UNLABELLED, ModelOutputs

_POWER = 4.0
_EPSILON = 0.25
_RELAX = 4.0
"""Power of the gains in the shares, entropy and firmness of class shares: as in `TransportLoss`."""
_LEAST = 1e-3
"""Importance that a member without any gain starts with, or it could never be asked."""


class Expertise(nn.Module):
    """Cross-fitted readouts of all members: shares to start the importances from, and a target for rows without label.

    The log-mean of a member's readouts over its layers is linear in these layers, so that it is kept as one matrix a
    member. The target is the log-mean of the members that were asked, weighted by their gains, with all training rows
    transported onto the estimated class shares.

    Args:
        readout: how the probes are fitted.
        context: with the outputs of every teacher over all training rows.

    Raises:
        DatasetError: if a class has a single labelled row, or only one class is labelled.
    """

    gains: Tensor
    shares: Tensor
    potential: Tensor

    def __init__(self, readout: Readout, context: LossContext) -> None:
        super().__init__()
        classes = len(context.label_space)
        found = [
            read_layers(readout, one, context.labels, classes, target=context.label_space, power=_POWER)
            for one in context.teachers
        ]
        self.members = nn.ModuleList(_Member(one) for one in found)
        self.register_buffer("gains", torch.tensor([max(one.gain, 0.0) for one in found]))
        self.register_buffer("shares", gain_shares(self.gains, _POWER))
        posterior = self._mean(context.teachers, None).log_softmax(dim=1)
        prior = estimate_prior(context.labels, classes).probabilities
        firmness = _RELAX * float((context.labels != UNLABELLED).float().mean())
        plan = transport_rows(posterior, prior, epsilon=_EPSILON, relax=firmness)
        self.register_buffer("potential", plan.potential)

    @property
    def trust(self) -> Tensor:
        """How far the target is to be trusted, in [0, 1]: the gain of the members, by their share."""
        return (self.gains * self.shares).sum()

    @property
    def importance(self) -> Float[Tensor, " teachers"]:
        """Where the importances start: the shares, none of them quite zero."""
        return (self.shares + _LEAST) / (1 + _LEAST * len(self.shares))

    @torch.no_grad()
    def target(
        self, teachers: tuple[ModelOutputs, ...], chosen: Bool[Tensor, "batch teachers"] | None
    ) -> Float[Tensor, "batch classes"]:
        """Probabilities of the target classes.

        Args:
            teachers: outputs of each on the rows that it was asked about.
            chosen: these rows; None for all.
        """
        return ((self._mean(teachers, chosen) + self.potential) / _EPSILON).softmax(dim=1)

    def _mean(self, teachers: tuple[ModelOutputs, ...], chosen: Tensor | None) -> Float[Tensor, "batch classes"]:
        """The log-mean of the members' posteriors, up to a constant in each row: to be normalised once, not by each."""
        said = [member(one) for member, one in zip(self.members, teachers, strict=True)]
        shares = self.shares.expand(len(said[0]) if chosen is None else len(chosen), -1)
        if chosen is not None:
            shares = shares * chosen
            shares = shares / shares.sum(dim=1, keepdim=True)
        return mixed(said, shares, chosen)


class _Member(nn.Module):
    """The log-mean of one teacher's readouts, not normalised, as one linear map of all its layers."""

    weight: Tensor
    bias: Tensor

    def __init__(self, found: LayeredReadout) -> None:
        super().__init__()
        weights, bias = [], torch.zeros_like(found.readouts[0].log_prior)
        for share, one in zip(found.shares, found.readouts, strict=True):
            weight = share * one.weight / one.scale[:, None] / one.temperature
            weights.append(weight)
            bias = bias + share * (one.log_prior + one.bias / one.temperature) - one.mean @ weight
        self.register_buffer("weight", torch.cat(weights))
        self.register_buffer("bias", bias)

    def forward(self, outputs: ModelOutputs) -> Float[Tensor, "rows classes"]:
        known = torch.cat([view.float() for view in views(outputs)], dim=1)
        return torch.addmm(self.bias, known, self.weight)
