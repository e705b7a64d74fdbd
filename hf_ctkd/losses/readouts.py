"""What is said about the target classes, read out of teachers and of the input: one posterior a row out of several."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from hf_ctkd.costs import FittedReadout, Readout, gain_shares, log_mean, posterior_gain, read_layers, views
from hf_ctkd.costs.probe import Basis, fit_path
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses.base import LossContext, require_teachers
from hf_ctkd.types import UNLABELLED, LabelSpace, ModelOutputs

_MOST_ROWS = 10_000
"""That probes are fitted on once more; a linear probe learns next to nothing from further ones."""
_REFIT_STRENGTH = 0.1


class Readouts(nn.Module):
    """The fitted readouts of all teachers and, if asked for, of the student's own input, as buffers; their log-mean.

    A teacher is read at each of its pooled layers (where `ModelOutputs.layers` holds them) and at what its head reads:
    the last layer of a teacher of another task has often dropped what the target asks for, an earlier one has not.
    Its posterior is the mean of the log posteriors of these readouts, and a committee's that of its members, each
    weighted by its cross-fitted gain to a high power and renormalised: those that know little hardly count. The input
    itself is a member like any other, so that a teacher that knows less than the plain input does no harm.

    Args:
        readout: how to fit.
        raw_input: whether the student's own input is read too.
        power: of the gain in the weights, within a teacher and in a committee.
    """

    gains: Tensor
    shares: Tensor
    weight: Tensor

    def __init__(self, readout: Readout, *, raw_input: bool = False, power: float = 4.0) -> None:
        super().__init__()
        self.readout = readout
        self.raw_input = raw_input
        self.power = power
        self.members = nn.ModuleList()
        for name, size in (("gains", 0), ("shares", 0)):
            self.register_buffer(name, torch.zeros(size))
        self.register_buffer("weight", torch.zeros(()))

    def fit(self, context: LossContext) -> None:
        """Fit the readouts of every member on the labelled rows.

        Raises:
            DatasetError: if a class has a single labelled row, or only one class is labelled.
            InvalidArgumentError: if there is nobody to be read, or no input where it is to be read.
        """
        if not self.raw_input:
            require_teachers(context, "a loss that reads features")
        members = [
            _MemberReadout(self.readout, self.power, outputs, context.labels, context.label_space)
            for outputs in self._everybody(context.inputs, context.teachers)
        ]
        self.members.extend(members)
        self.gains = torch.tensor([member.gain for member in members])
        self.shares = gain_shares(self.gains, self.power)
        labels = context.labels[context.labels != UNLABELLED].cpu()
        mixed = log_mean(self.shares, [member.crossfit for member in members])
        self.weight = torch.tensor(max(posterior_gain(mixed, labels, members[0].prior_likelihood), 0.0))

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
        mass = torch.where((labels != UNLABELLED)[:, None], known, self.weight.double() * targets[rows].double())
        everybody = self._everybody(context.inputs, context.teachers)
        for member, outputs in zip(self._members, everybody, strict=True):
            member.refit(outputs.select(rows), mass)

    @property
    def _members(self) -> "list[_MemberReadout]":
        return [member for member in self.members if isinstance(member, _MemberReadout)]

    @property
    def teacher_gains(self) -> Tensor:
        """Cross-fitted gain of each teacher, the input left out."""
        return self.gains[:-1] if self.raw_input else self.gains

    @property
    def input_share(self) -> float:
        """How much of the posterior is the input's."""
        return float(self.shares[-1]) if self.raw_input else 0.0

    def _everybody(self, inputs: Tensor | None, teachers: tuple[ModelOutputs, ...]) -> tuple[ModelOutputs, ...]:
        if not self.raw_input:
            return teachers
        if inputs is None:
            raise InvalidArgumentError(
                "The student's `inputs` must be given to a loss with `raw_input=True`, got None. Let `Trainee` read "
                "them, or set it to False."
            )
        return (*teachers, ModelOutputs(features=inputs))

    @torch.no_grad()
    def log_posterior(
        self, inputs: Float[Tensor, "rows inputs"] | None, teachers: tuple[ModelOutputs, ...]
    ) -> Float[Tensor, "rows classes"]:
        """Log probabilities of the target classes.

        Args:
            inputs: of the student, as plain features; None where they are not read.
            teachers: outputs of each on the same rows.
        """
        everybody = self._everybody(inputs, teachers)
        said = [member.log_posterior(outputs) for member, outputs in zip(self._members, everybody, strict=True)]
        return log_mean(self.shares, said)


class _MemberReadout(nn.Module):
    """One probe a view of a teacher, and their log-mean.

    Its gain is that of the log-mean, from the views' cross-fitted posteriors.
    """

    shares: Tensor

    def __init__(
        self,
        readout: Readout,
        power: float,
        outputs: ModelOutputs,
        labels: Int[Tensor, " rows"],
        space: LabelSpace,
    ) -> None:
        super().__init__()
        fitted = read_layers(readout, outputs, labels, len(space), target=space, power=power)
        self.probes = nn.ModuleList(_Probe(one) for one in fitted.readouts)
        self.register_buffer("shares", fitted.shares)
        self.gain = max(fitted.gain, 0.0)
        self.crossfit = fitted.crossfit
        self.prior_likelihood = fitted.readouts[0].prior_likelihood

    @property
    def _views(self) -> "list[_Probe]":
        return [probe for probe in self.probes if isinstance(probe, _Probe)]

    def refit(self, outputs: ModelOutputs, mass: Float[Tensor, "rows classes"]) -> None:
        for probe, view in zip(self._views, views(outputs), strict=True):
            probe.refit(view, mass)

    def log_posterior(self, outputs: ModelOutputs) -> Float[Tensor, "rows classes"]:
        said = [probe.log_posterior(view) for probe, view in zip(self._views, views(outputs), strict=True)]
        return log_mean(self.shares, said)


class _Probe(nn.Module):
    """A fitted readout whose tensors travel with the module: to devices, into checkpoints and back."""

    weight: Tensor
    bias: Tensor
    log_prior: Tensor
    mean: Tensor
    scale: Tensor
    temperature: Tensor

    _NAMES = ("weight", "bias", "log_prior", "mean", "scale", "temperature")

    def __init__(self, fitted: FittedReadout) -> None:
        super().__init__()
        for name in self._NAMES:
            self.register_buffer(name, vars(fitted)[name].clone())

    def refit(self, features: Float[Tensor, "rows width"], mass: Float[Tensor, "rows classes"]) -> None:
        basis = Basis.of(features)
        weights = fit_path(basis.rows, mass, log_prior=self.log_prior.double(), strengths=(_REFIT_STRENGTH,))[-1]
        self.weight, self.bias = (basis.axes @ weights[:-1]).float(), weights[-1].float()
        self.mean, self.scale = basis.mean.float(), basis.scale.float()
        self.temperature = torch.ones(())

    def log_posterior(self, features: Float[Tensor, "rows width"]) -> Float[Tensor, "rows classes"]:
        evidence = ((features.float() - self.mean) / self.scale) @ self.weight + self.bias
        return (self.log_prior + evidence / self.temperature).log_softmax(dim=1)


def _some_rows(labels: Int[Tensor, " rows"], seed: int) -> Int[Tensor, " chosen"]:
    """All labelled rows and as many others as may be fitted on, in random order."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    labelled = order[labels[order] != UNLABELLED]
    others = order[labels[order] == UNLABELLED]
    return torch.cat([labelled, others])[: max(_MOST_ROWS, len(labelled))]
