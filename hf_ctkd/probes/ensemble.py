"""The probes of all teachers and of the input features, joined to one posterior per row."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from hf_ctkd.data.progress import counted
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.probes.labelled import CHUNK_ROWS, check_all_rows, fitting_rows
from hf_ctkd.probes.layered import fit_layers, gain_shares, information_gain_of, log_mean, views
from hf_ctkd.probes.probe import LinearProbe
from hf_ctkd.probes.solver import Basis, fit_path
from hf_ctkd.records import Proportion
from hf_ctkd.types import UNLABELLED, LabelSpace, LossContext, ModelOutputs, RowOutputs

GAIN_EXPONENT = 4.0
"""Exponent of the information gain in the shares of layers and members: those that know little hardly count."""
_REFIT_STRENGTH = 0.1
"""Ridge strength of a refit, which chooses none by cross-fitting."""


class ProbeEnsemble(nn.Module):
    """The log-mean of the probes of all teachers and, optionally, of the student's input features, fitted as buffers.

    A teacher is read at each of its pooled layers (where `ModelOutputs.layers` holds them) and at what its head reads:
    the last layer of a teacher of another task has often dropped what the target needs, an earlier one has not.
    A member is one teacher, or the input features. The log posterior of a member is the weighted mean of the log
    posteriors of its probes, and that of the ensemble the weighted mean over members, both renormalised; weights are
    proportional to a power of the information gain. As the input features are a member like any other, a teacher that
    knows less than they do does no harm.

    Outputs over all rows are read in parts: probes are fitted to at most `MAX_FITTING_ROWS` rows and evaluated
    `CHUNK_ROWS` rows at a time, so that memory does not grow with the rows beyond `[rows, classes]`.

    Args:
        probe: how each probe is fitted.
        input_features: whether a probe is fitted to the student's input features too; "student" for one that is fitted
            to the untrained student's own layers and features in their place.
        gain_exponent: exponent of the information gain in the shares of layers and of members.

    Attributes:
        information_gains: `[members]`, cross-fitted, clipped at 0; the input features last.
        shares: `[members]`, of each member in the log-mean, summing to one.
        information_gain: a scalar, cross-fitted, of the whole ensemble, clipped at 0.
        accuracies: of each member, the labelled rows that probes fitted without them get right; the input features
            last, and empty before `fit`.
    """

    information_gains: Tensor
    shares: Tensor
    information_gain: Tensor

    def __init__(
        self, probe: LinearProbe, *, input_features: bool | str = False, gain_exponent: float = GAIN_EXPONENT
    ) -> None:
        super().__init__()
        self.probe = probe
        self.input_features = input_features
        self.gain_exponent = gain_exponent
        self.members = nn.ModuleList()
        self.register_buffer("information_gains", torch.zeros(0))
        self.register_buffer("shares", torch.zeros(0))
        self.register_buffer("information_gain", torch.zeros(()))
        self.accuracies: tuple[Proportion, ...] = ()

    def fit(self, context: LossContext) -> None:
        """Fit the probes of every member to labelled rows.

        Args:
            context: labels, teachers over all rows and, if they are read, input features, or the student's outputs.

        Raises:
            DatasetError: if a class has a single labelled row, or only one class is labelled.
            InvalidArgumentError: if there is no teacher and no input to read, input features or the student's outputs
                are missing, a teacher has another number of rows than there are labels, or features are not finite.
        """
        if not self.input_features and not context.teachers:
            raise InvalidArgumentError("`teachers` must hold at least one teacher to be read, got none.")
        check_all_rows(context.teachers, context.labels)
        rows = fitting_rows(context.labels, context.seed)
        labels = context.labels[rows]
        members = [
            _MemberProbe(self.probe, self.gain_exponent, source.select(rows), labels, context.label_space)
            for source in self._with_bar(context, "probes")
        ]
        self.members = nn.ModuleList(members)
        self.information_gains = torch.tensor([member.information_gain for member in members])
        self.accuracies = tuple(_right(member.crossfit_log_posterior, labels) for member in members)
        self.shares = gain_shares(self.information_gains, self.gain_exponent)
        held_out = log_mean(self.shares, [member.crossfit_log_posterior for member in members])
        information_gain = information_gain_of(held_out, labels, members[0].prior_log_likelihood)
        self.information_gain = torch.tensor(max(information_gain, 0.0))

    def _with_bar(self, context: LossContext, description: str) -> Iterator[RowOutputs]:
        sources = self._sources(context)
        return counted(sources, len(sources), description, unit="model")

    def refit(
        self, context: LossContext, rows: Int[Tensor, " fitted"], targets: Float[Tensor, "fitted classes"]
    ) -> None:
        """Fit every probe again: to the label of a labelled row, to the soft target of an unlabelled one.

        A labelled row has weight 1, an unlabelled one the cross-fitted information gain of the ensemble. All probes
        have one ridge strength and no temperature then. Information gains and shares stay as they are, since they were
        estimated on rows that the probes had not seen.

        Args:
            context: as given to `fit`.
            rows: to fit to, from `fitting_rows`.
            targets: soft target of each of these rows, summing to one.
        """
        labels = context.labels[rows]
        one_hot = F.one_hot(labels.clamp_min(0), targets.shape[1]).double()
        weighted = self.information_gain.double() * targets.double()
        mass = torch.where((labels != UNLABELLED)[:, None], one_hot, weighted)
        for member, source in zip(self._members, self._with_bar(context, "probes, again"), strict=True):
            member.refit(source.select(rows), mass)

    @torch.no_grad()
    def log_posteriors(self, context: LossContext) -> Float[Tensor, "rows classes"]:
        """Log probabilities of the target classes for all rows of a context, on the CPU; teachers are read in chunks.

        Args:
            context: as given to `fit`.
        """
        total = torch.zeros(len(context.labels), len(context.label_space))
        sources = self._sources(context)
        for share, member, source in zip(self.shares, self._members, sources, strict=True):
            for rows, outputs in source.chunks(CHUNK_ROWS):
                total[rows] += (share * member.logits(outputs.to(share.device))).cpu()
        for part in total.split(CHUNK_ROWS):
            part.copy_(part.log_softmax(dim=1))  # in place, as this is the largest tensor of all
        return total

    @torch.no_grad()
    def log_posterior(
        self,
        inputs: Float[Tensor, "rows inputs"] | None,
        teachers: tuple[ModelOutputs, ...],
        selected: Bool[Tensor, "rows teachers"] | None = None,
    ) -> Float[Tensor, "rows classes"]:
        """Log probabilities of the target classes for the rows of a batch.

        Args:
            inputs: input features of the student; None where they are not read.
            teachers: outputs of each on the same rows, or on those that it was selected for.
            selected: which rows each teacher was selected for; None for all. The share of a teacher that was not
                selected for a row is divided among the others.

        Raises:
            InvalidArgumentError: if input features are missing, or the untrained student's own features are read, of
                which a batch holds none.
        """
        if self.input_features == "student":
            raise InvalidArgumentError(
                "`input_features='student'` reads the untrained student, which is not there at a training step. "
                "Train on targets that are computed once."
            )
        batch = teachers if not self.input_features else (*teachers, ModelOutputs(_required(inputs)))
        logits = [member.logits(outputs) for member, outputs in zip(self._members, batch, strict=True)]
        if selected is None:
            return torch.einsum("m,mrc->rc", self.shares, torch.stack(logits)).log_softmax(dim=1)
        members = F.pad(selected, (0, 1), value=True) if self.input_features else selected
        shares = self.shares * members
        return weighted_mean(logits, shares / shares.sum(dim=1, keepdim=True), members).log_softmax(dim=1)

    @property
    def teacher_information_gains(self) -> Float[Tensor, " teachers"]:
        """Cross-fitted information gain of each teacher, without the input features."""
        return self.information_gains[:-1] if self.input_features else self.information_gains

    @property
    def teacher_accuracies(self) -> tuple[Proportion, ...]:
        """Those of the teachers in `accuracies`."""
        return self.accuracies[:-1] if self.input_features else self.accuracies

    @property
    def teacher_shares(self) -> Float[Tensor, " teachers"]:
        """Share of each teacher in the log-mean; they sum to one with that of the input features."""
        return self.shares[:-1] if self.input_features else self.shares

    @property
    def input_share(self) -> float:
        """Share of the input features in the log-mean."""
        return float(self.shares[-1]) if self.input_features else 0.0

    @property
    def _members(self) -> "list[_MemberProbe]":
        """`members` by their type, which a `ModuleList` does not keep."""
        return [member for member in self.members if isinstance(member, _MemberProbe)]

    def _sources(self, context: LossContext) -> tuple[RowOutputs, ...]:
        """The outputs over all rows that each member reads, in the order of the members."""
        if self.input_features == "student":
            return (*context.teachers, _required_student(context.student_rows))
        return (*context.teachers, _required(context.inputs)) if self.input_features else context.teachers


Inputs = TypeVar("Inputs", Tensor, RowOutputs)


def _right(log_posterior: Float[Tensor, "rows classes"], labels: Int[Tensor, " rows"]) -> Proportion:
    return Proportion(int((log_posterior.argmax(dim=1) == labels.cpu()).sum()), len(labels))


def _required_student(outputs: RowOutputs | None) -> RowOutputs:
    if outputs is None:
        raise InvalidArgumentError(
            "`student_rows` must hold the untrained student's outputs for `input_features='student'`, got None. Pass "
            "them in `LossContext`; DistillationTrainer does."
        )
    return outputs


def _required(inputs: Inputs | None) -> Inputs:
    if inputs is None:
        raise InvalidArgumentError(
            "The student's `inputs` must be given to a loss with `input_features=True`, got None. Let "
            "`StudentWithLoss` read them, or set it to False."
        )
    return inputs


class _MemberProbe(nn.Module):
    """The log-mean of one member's probes, one per view, as a single affine map of all its views.

    The log-mean of softmaxes is the softmax of the mean of their logits. The information gain is that of the log-mean,
    from the views' cross-fitted posteriors.
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
        self._join(
            [
                _ViewProbe(view.weight / view.temperature, view.bias / view.temperature, view.mean, view.scale)
                for view in fitted.probes
            ]
        )
        self.information_gain = max(fitted.information_gain, 0.0)
        self.crossfit_log_posterior = fitted.crossfit_log_posterior
        self.prior_log_likelihood = fitted.probes[0].prior_log_likelihood

    def refit(self, outputs: ModelOutputs, mass: Float[Tensor, "rows classes"]) -> None:
        """Fit the probes of all views again, to the mass of each class in each row; a row's sum is its weight."""
        probes = []
        for view in views(outputs):
            basis = Basis.of(view)
            weights = fit_path(basis.rows, mass, log_prior=self.log_prior.double(), strengths=(_REFIT_STRENGTH,))[-1]
            probes.append(_ViewProbe(basis.axes @ weights[:-1], weights[-1], basis.mean, basis.scale))
        self._join(probes)

    def _join(self, probes: "Sequence[_ViewProbe]") -> None:
        # log_prior + sum_v share_v * ((x_v - mean_v) / scale_v @ weight_v + bias_v), as one affine map of all x_v.
        weights, bias = [], self.log_prior.double()
        for share, probe in zip(self.shares.double(), probes, strict=True):
            weight = share * probe.weight.double() / probe.scale.double()[:, None]
            weights.append(weight)
            bias = bias + share * probe.bias.double() - probe.mean.double() @ weight
        self.weight, self.bias = torch.cat(weights).float(), bias.float()

    def logits(self, outputs: ModelOutputs) -> Float[Tensor, "rows classes"]:
        """Log probabilities of the target classes, up to a constant in each row: log prior and evidence together."""
        features = torch.cat([view.float() for view in views(outputs)], dim=1)
        return torch.addmm(self.bias, features, self.weight)


@dataclass(frozen=True)
class _ViewProbe:
    """An affine map from one view's standardised features to evidence, which is added to the log prior."""

    weight: Float[Tensor, "width classes"]
    bias: Float[Tensor, " classes"]
    mean: Float[Tensor, " width"]
    scale: Float[Tensor, " width"]


def weighted_mean(
    values: Sequence[Float[Tensor, "_ width"]],
    weights: Float[Tensor, "batch members"],
    selected: Bool[Tensor, "batch members"] | None,
) -> Float[Tensor, "batch width"]:
    """The weighted mean over members, row by row, where each member may have values for some rows alone.

    Args:
        values: of each member, on the rows that it was selected for.
        weights: of each member for each row.
        selected: the rows of each; None for all.
    """
    if selected is None:
        return torch.bmm(weights[:, None], torch.stack(tuple(values), dim=1))[:, 0]
    total = weights.new_zeros(len(weights), values[0].shape[1])
    for member, member_values in enumerate(values):
        rows = selected[:, member].nonzero()[:, 0]
        total = total.index_add(0, rows, weights[rows, member, None] * member_values)
    return total
