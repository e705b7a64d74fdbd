"""What is said about the target classes, read out of teachers and of the input: one posterior a row out of several."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.probes import LinearProbe, fit_layers, gain_shares, information_gain_of, log_mean, views
from hf_ctkd.probes.solver import Basis, fit_path
from hf_ctkd.types import UNLABELLED, LabelSpace, LossContext, ModelOutputs

GAIN_EXPONENT = 4.0
"""Of the gain in the shares: those that know little hardly count."""
_LEAST = 1e-3
"""Importance that a member without any gain starts with, or it could never be asked."""
_MOST_ROWS = 10_000
"""That probes are fitted on once more; a linear probe learns next to nothing from further ones."""
_REFIT_STRENGTH = 0.1


class ProbeEnsemble(nn.Module):
    """The fitted probes of all teachers and, if asked for, of the student's own input, as buffers; their log-mean.

    A teacher is read at each of its pooled layers (where `ModelOutputs.layers` holds them) and at what its head reads:
    the last layer of a teacher of another task has often dropped what the target asks for, an earlier one has not.
    Its posterior is the mean of the log posteriors of these probes, and a committee's that of its members, each
    weighted by its cross-fitted gain to a high power and renormalised: those that know little hardly count. The input
    itself is a member like any other, so that a teacher that knows less than the plain input does no harm.

    Args:
        probe: how to fit.
        input_features: whether the student's own input is read too.
        gain_exponent: exponent of the information gain in the weights, within a teacher and in a committee.
    """

    information_gains: Tensor
    shares: Tensor
    information_gain: Tensor

    def __init__(
        self, probe: LinearProbe, *, input_features: bool = False, gain_exponent: float = GAIN_EXPONENT
    ) -> None:
        super().__init__()
        self.probe = probe
        self.input_features = input_features
        self.gain_exponent = gain_exponent
        self.members = nn.ModuleList()
        for name, size in (("information_gains", 0), ("shares", 0)):
            self.register_buffer(name, torch.zeros(size))
        self.register_buffer("information_gain", torch.zeros(()))

    def fit(self, context: LossContext) -> None:
        """Fit the probes of every member on the labelled rows.

        Raises:
            DatasetError: if a class has a single labelled row, or only one class is labelled.
            InvalidArgumentError: if there is nobody to be read, or no input where it is to be read.
        """
        if not self.input_features and not context.teachers:
            raise InvalidArgumentError("`teachers` must hold at least one teacher to be read, got none.")
        members = [
            _MemberProbe(self.probe, self.gain_exponent, outputs, context.labels, context.label_space)
            for outputs in self._everybody(context.inputs, context.teachers)
        ]
        self.members.extend(members)
        self.information_gains = torch.tensor([member.information_gain for member in members])
        self.shares = gain_shares(self.information_gains, self.gain_exponent)
        labels = context.labels[context.labels != UNLABELLED].cpu()
        held_out = log_mean(self.shares, [member.crossfit for member in members])
        self.information_gain = torch.tensor(
            max(information_gain_of(held_out, labels, members[0].prior_likelihood), 0.0)
        )

    def refit(self, context: LossContext, targets: Float[Tensor, "rows classes"]) -> None:
        """Fit every probe once more, on all rows: labels where there are any, soft targets where there are none.

        A row without a label weighs as much as all members together were found to know by cross-fitting, which stays
        the judge of them: gains and shares are left as they are. Of many rows a random part is taken.

        Args:
            context: as given to `fit`.
            targets: shares of the classes in each row.
        """
        rows = _some_rows(context.labels, context.seed)
        labels = context.labels[rows]
        known = F.one_hot(labels.clamp_min(0), targets.shape[1]).double()
        mass = torch.where(
            (labels != UNLABELLED)[:, None], known, self.information_gain.double() * targets[rows].double()
        )
        everybody = self._everybody(context.inputs, context.teachers)
        for member, outputs in zip(self._members, everybody, strict=True):
            member.refit(outputs.select(rows), mass)

    @property
    def _members(self) -> "list[_MemberProbe]":
        return [member for member in self.members if isinstance(member, _MemberProbe)]

    @property
    def teacher_information_gains(self) -> Tensor:
        """Cross-fitted gain of each teacher, the input left out."""
        return self.information_gains[:-1] if self.input_features else self.information_gains

    @property
    def teacher_shares(self) -> Tensor:
        """How much of the posterior is each teacher's; they sum to one with that of the input."""
        return self.shares[:-1] if self.input_features else self.shares

    @property
    def input_share(self) -> float:
        """How much of the posterior is the input's."""
        return float(self.shares[-1]) if self.input_features else 0.0

    def _everybody(self, inputs: Tensor | None, teachers: tuple[ModelOutputs, ...]) -> tuple[ModelOutputs, ...]:
        if not self.input_features:
            return teachers
        if inputs is None:
            raise InvalidArgumentError(
                "The student's `inputs` must be given to a loss with `input_features=True`, got None. Let "
                "`StudentWithLoss` read them, or set it to False."
            )
        return (*teachers, ModelOutputs(features=inputs))

    @torch.no_grad()
    def log_posterior(
        self,
        inputs: Float[Tensor, "rows inputs"] | None,
        teachers: tuple[ModelOutputs, ...],
        chosen: Bool[Tensor, "rows teachers"] | None = None,
    ) -> Float[Tensor, "rows classes"]:
        """Log probabilities of the target classes.

        Args:
            inputs: of the student, as plain features; None where they are not read.
            teachers: outputs of each on the same rows, or on those of them that it was chosen for.
            chosen: these rows; None for all. The others share what a teacher has no part in.
        """
        everybody = self._everybody(inputs, teachers)
        said = [member.evidence(outputs) for member, outputs in zip(self._members, everybody, strict=True)]
        if chosen is None:
            return torch.einsum("m,mrc->rc", self.shares, torch.stack(said)).log_softmax(dim=1)
        asked = F.pad(chosen, (0, 1), value=True) if self.input_features else chosen
        shares = self.shares * asked
        return mixed(said, shares / shares.sum(dim=1, keepdim=True), asked).log_softmax(dim=1)


class _MemberProbe(nn.Module):
    """The log-mean of one member's probes, one a view, as a single linear map of all its views.

    The log-mean of softmaxes is linear in what they are made of, up to a constant in each row. The gain is that of the
    log-mean, from the views' cross-fitted posteriors.
    """

    log_prior: Tensor
    shares: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(
        self,
        probe: LinearProbe,
        gain_exponent: float,
        outputs: ModelOutputs,
        labels: Int[Tensor, " rows"],
        space: LabelSpace,
    ) -> None:
        super().__init__()
        fitted = fit_layers(probe, outputs, labels, len(space), target=space, gain_exponent=gain_exponent)
        self.register_buffer("log_prior", fitted.probes[0].log_prior)
        self.register_buffer("shares", fitted.shares)
        for name in ("weight", "bias"):
            self.register_buffer(name, torch.zeros(0))
        self._join([_Probe(one.weight / one.temperature, one.bias / one.temperature, one.mean, one.scale)
                    for one in fitted.probes])  # fmt: skip
        self.information_gain = max(fitted.information_gain, 0.0)
        self.crossfit = fitted.crossfit
        self.prior_likelihood = fitted.probes[0].prior_likelihood

    def refit(self, outputs: ModelOutputs, mass: Float[Tensor, "rows classes"]) -> None:
        probes = []
        for view in views(outputs):
            basis = Basis.of(view)
            weights = fit_path(basis.rows, mass, log_prior=self.log_prior.double(), strengths=(_REFIT_STRENGTH,))[-1]
            probes.append(_Probe(basis.axes @ weights[:-1], weights[-1], basis.mean, basis.scale))
        self._join(probes)

    def _join(self, probes: "Sequence[_Probe]") -> None:
        weights, bias = [], self.log_prior.double()
        for share, one in zip(self.shares.double(), probes, strict=True):
            weight = share * one.weight.double() / one.scale.double()[:, None]
            weights.append(weight)
            bias = bias + share * one.bias.double() - one.mean.double() @ weight
        self.weight, self.bias = torch.cat(weights).float(), bias.float()

    def evidence(self, outputs: ModelOutputs) -> Float[Tensor, "rows classes"]:
        """Log probabilities of the target classes, up to a constant in each row."""
        known = torch.cat([view.float() for view in views(outputs)], dim=1)
        return torch.addmm(self.bias, known, self.weight)


@dataclass(frozen=True)
class _Probe:
    """What a linear probe says of standardised features: evidence to be added to the log prior."""

    weight: Float[Tensor, "width classes"]
    bias: Float[Tensor, " classes"]
    mean: Float[Tensor, " width"]
    scale: Float[Tensor, " width"]


def starting_importances(gains: Float[Tensor, " teachers"]) -> Float[Tensor, " teachers"]:
    """Where the importances of a committee start: the teachers' shares among themselves, none of them quite zero.

    Args:
        gains: of each teacher's probe, see `ProbeEnsemble.teacher_information_gains`.
    """
    shares = gain_shares(gains, GAIN_EXPONENT) + _LEAST
    return shares / shares.sum()


def _some_rows(labels: Int[Tensor, " rows"], seed: int) -> Int[Tensor, " chosen"]:
    """All labelled rows and as many others as may be fitted on, in random order."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    labelled = order[labels[order] != UNLABELLED]
    others = order[labels[order] == UNLABELLED]
    return torch.cat([labelled, others])[: max(_MOST_ROWS, len(labelled))]


def mixed(
    said: Sequence[Float[Tensor, "_ width"]],
    weights: Float[Tensor, "batch teachers"],
    chosen: Bool[Tensor, "batch teachers"] | None,
) -> Float[Tensor, "batch width"]:
    """What all teachers say of each row, weighted.

    Args:
        said: by each teacher, on the rows that it was chosen for.
        weights: of each teacher for each row.
        chosen: the rows of each; None for all.
    """
    if chosen is None:
        return torch.bmm(weights[:, None], torch.stack(tuple(said), dim=1))[:, 0]
    total = weights.new_zeros(len(weights), said[0].shape[1])
    for place, one in enumerate(said):
        rows = chosen[:, place].nonzero()[:, 0]
        total = total.index_add(0, rows, weights[rows, place, None] * one)
    return total
