"""All training rows transported onto the target classes; each row of the plan is that row's soft target."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses.base import student_logits
from hf_ctkd.ot import transport_rows
from hf_ctkd.probes import estimate_prior
from hf_ctkd.probes.ensemble import ProbeEnsemble
from hf_ctkd.types import UNLABELLED, LossContext, ModelOutputs


def check_ranges(epsilon: float, power: float, relax: float, own: float, rounds: int) -> None:
    """Refuse settings out of their range; for their meaning see `TransportLoss`.

    Raises:
        InvalidArgumentError: naming the argument.
    """
    for name, value in (("epsilon", epsilon), ("relax", relax)):
        if not value > 0:
            raise InvalidArgumentError(f"`{name}` must be positive, got {value}.")
    for name, value in (("power", power), ("rounds", rounds)):
        if value < 0:
            raise InvalidArgumentError(f"`{name}` must not be negative, got {value}.")
    if not 0 <= own < 1:
        raise InvalidArgumentError(f"`own` must lie in [0, 1), got {own}.")


def labelled_share(labels: Int[Tensor, " rows"]) -> Float[Tensor, ""]:
    """Share of the rows that have a label."""
    return (labels != UNLABELLED).float().mean()


def row_weights(labels: Int[Tensor, " batch"], share: Float[Tensor, ""]) -> Float[Tensor, " batch"]:
    """How much each row counts in a divergence from what probes say: 1, a labelled row by the labelled share.

    Args:
        labels: -100 for unlabelled rows.
        share: of all training rows, see `labelled_share`.
    """
    return torch.where(labels == UNLABELLED, torch.ones_like(share), share)


def weighted_divergence(
    predicted: Float[Tensor, "batch classes"],
    target: Float[Tensor, "batch classes"],
    weights: Float[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """KL from targets to predictions, times the weight of each row, over the number of rows.

    Args:
        predicted: log probabilities.
        target: probabilities.
        weights: one a row.
    """
    return (weights * F.kl_div(predicted, target, reduction="none").sum(dim=1)).mean()


class RowsOntoClasses(nn.Module):
    """KL from the rows of one plan (all training rows onto the classes) to the student's predictions.

    A labelled row counts in the divergence by the labelled share of all rows: the task loss teaches its label, which a
    probe of few labels often contradicts. With every row labelled it counts in full.

    Args:
        probes: what gives every row its cost, minus the log posterior of each class.
        epsilon: strength of the entropy, in nats.
        power: of the probes' gain in the weight.
        relax: how firmly class shares are held, per labelled row.
        own: largest share of the student's own prediction in its target, reached as far as both agreed in the step
            before; see `after_step`.
        rounds: how often the probes learn from the plan.
    """

    potential: Tensor
    agreement: Tensor
    labelled_share: Tensor

    def __init__(
        self,
        probes: ProbeEnsemble,
        *,
        epsilon: float = 0.25,
        power: float = 1.0,
        relax: float = 4.0,
        own: float = 0.7,
        rounds: int = 2,
    ) -> None:
        super().__init__()
        self.epsilon, self.power, self.relax, self.own, self.rounds = epsilon, power, relax, own, rounds
        self.probes = probes
        self.register_buffer("potential", torch.zeros(0))
        # Next to nothing while the student is untrained, so that it takes the place of a schedule.
        self.register_buffer("agreement", torch.zeros(()))
        self.register_buffer("labelled_share", torch.ones(()))
        self._agreed: Tensor | None = None  # sum and number of rows; no buffer, as each process has its own

    @property
    def relatedness(self) -> Tensor:
        """Cross-fitted gain of each teacher."""
        return self.probes.teacher_gains

    @property
    def input_share(self) -> float:
        """Share of the student's own input in what is read."""
        return self.probes.input_share

    def strength(self) -> float:
        """Cross-fitted gain of all that is read."""
        return float(self.probes.weight)

    def fit(self, context: LossContext) -> None:
        """Fit the probes and transport all rows; then let the probes learn from the plan, as often as asked for."""
        self.probes.fit(context)
        self.labelled_share = labelled_share(context.labels)
        posterior = self._transport(context)
        for _ in range(self.rounds):
            self.probes.refit(context, self.target(posterior))
            posterior = self._transport(context)

    def _transport(self, context: LossContext) -> Float[Tensor, "rows classes"]:
        posterior = self.probes.log_posterior(context.inputs, context.teachers)
        prior = estimate_prior(context.labels, len(context.label_space))
        # Shares are known as well as their labels are many: the objective per row holds them at labels / rows nats.
        labelled = int((context.labels != UNLABELLED).sum())
        firmness = self.relax * labelled / len(posterior)
        self.potential = transport_rows(posterior, prior, epsilon=self.epsilon, relax=firmness).potential
        return posterior

    def after_step(self, total: Callable[[Tensor], Tensor]) -> None:
        """Take over how far target and student agreed, a mean over all rows of the step; see `DistillationLoss`."""
        if self._agreed is not None:
            agreed, rows = total(self._agreed)
            self.agreement = agreed / rows.clamp_min(torch.finfo(rows.dtype).tiny)
            self._agreed = None

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> Tensor:
        """The weighted divergence, a mean over rows."""
        return self.divergence(student, self.probes.log_posterior(student.inputs, teachers), labels)

    def divergence(
        self, student: ModelOutputs, said: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]
    ) -> Tensor:
        """The weighted divergence, a mean over rows.

        Args:
            student: with its logits.
            said: log posteriors of the probes.
            labels: target labels, -100 for unlabelled rows.
        """
        rows = row_weights(labels, self.labelled_share)
        predicted = student_logits(student).float().log_softmax(dim=1)
        weight = self.probes.weight
        target = self.target(said)
        if self.own > 0:
            self._note(rows * (target * predicted.detach().exp()).sum(dim=1), rows.sum())
            own = self.own * weight * self.agreement
            target = self.target((1 - own) * said + own * predicted.detach())
            weight = (1 - own) * weight**self.power + own
        else:
            weight = weight**self.power
        return weight * weighted_divergence(predicted, target, rows)

    def _note(self, agreed: Float[Tensor, " batch"], rows: Float[Tensor, ""]) -> None:
        if self.training:
            found = torch.stack([agreed.sum(), rows])
            self._agreed = found if self._agreed is None else self._agreed + found

    def target(self, log_posterior: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
        """Rows of the plan: shares of the classes in each row."""
        return ((log_posterior + self.potential) / self.epsilon).softmax(dim=1)
