"""What teachers say about the target classes, read out of their layers: one posterior a row out of one or several."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hf_ctkd.costs import FittedReadout, Readout
from hf_ctkd.losses.base import LossContext, require_teachers
from hf_ctkd.types import UNLABELLED, LabelSpace, ModelOutputs


class TeacherReadouts(nn.Module):
    """The fitted readouts of all teachers, as buffers, and their log-mean.

    A teacher is read at each of its pooled layers (where `ModelOutputs.layers` holds them) and at what its head reads:
    the last layer of a teacher of another task has often dropped what the target asks for, an earlier one has not.
    Its posterior is the mean of the log posteriors of these readouts, and a committee's that of its members, each
    weighted by its cross-fitted gain to a high power and renormalised: those that know little hardly count.

    Args:
        readout: how to fit.
        power: of the gain in the weights, within a teacher and in a committee.
    """

    gains: Tensor
    shares: Tensor

    def __init__(self, readout: Readout, power: float = 4.0) -> None:
        super().__init__()
        self.readout = readout
        self.power = power
        self.members = nn.ModuleList()
        self.register_buffer("gains", torch.zeros(0))
        self.register_buffer("shares", torch.zeros(0))

    def fit(self, context: LossContext) -> None:
        """Fit the readouts of every teacher on the labelled rows.

        Raises:
            DatasetError: if a class has a single labelled row, or only one class is labelled.
            InvalidArgumentError: if there is no teacher.
        """
        require_teachers(context, "a loss that reads features")
        members = [
            _TeacherReadout(self.readout, self.power, outputs, context.labels, context.label_space)
            for outputs in context.teachers
        ]
        self.members.extend(members)
        self.gains = torch.tensor([member.gain for member in members])
        self.shares = _shares(self.gains, self.power)

    @property
    def _fitted(self) -> "list[_TeacherReadout]":
        return [member for member in self.members if isinstance(member, _TeacherReadout)]

    @property
    def weight(self) -> Tensor:
        """How far the posterior is to be trusted, in [0, 1]: the gain of the members, by their share."""
        return (self.gains * self.shares).sum()

    @torch.no_grad()
    def log_posterior(self, teachers: tuple[ModelOutputs, ...]) -> Float[Tensor, "rows classes"]:
        """Log probabilities of the target classes."""
        return log_mean(
            self.shares,
            [member.log_posterior(outputs) for member, outputs in zip(self._fitted, teachers, strict=True)],
        )


def log_mean(
    shares: Float[Tensor, " members"], log_posteriors: Sequence[Float[Tensor, "rows classes"]]
) -> Float[Tensor, "rows classes"]:
    """The normalised geometric mean of several posteriors."""
    mixed = sum(share * one for share, one in zip(shares, log_posteriors, strict=True))
    return torch.as_tensor(mixed).log_softmax(dim=1)


def views(outputs: ModelOutputs) -> tuple[Tensor, ...]:
    """All that is read of one teacher: its pooled layers, and what its head reads."""
    return (*outputs.layers, outputs.features)


class _TeacherReadout(nn.Module):
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
        fitted = [readout.fit(view, labels, len(space), target=space) for view in views(outputs)]
        self.probes = nn.ModuleList(_Probe(one) for one in fitted)
        self.register_buffer("shares", _shares(torch.tensor([one.relatedness for one in fitted]), power))
        self.gain = _gain_of_mean(fitted, self.shares, labels[labels != UNLABELLED])

    def log_posterior(self, outputs: ModelOutputs) -> Float[Tensor, "rows classes"]:
        probes = [probe for probe in self.probes if isinstance(probe, _Probe)]
        return log_mean(
            self.shares, [probe.log_posterior(view) for probe, view in zip(probes, views(outputs), strict=True)]
        )


def _shares(gains: Float[Tensor, " members"], power: float) -> Float[Tensor, " members"]:
    powered = gains.clamp_min(1e-6) ** power
    return powered / powered.sum()


def _gain_of_mean(
    fitted: Sequence[FittedReadout], shares: Float[Tensor, " views"], labels: Int[Tensor, " labelled"]
) -> float:
    """The gain of a log-mean of readouts over the class prior, clipped at zero."""
    mixed = log_mean(shares, [one.crossfit_posterior.log() for one in fitted])

    def likelihood(log_posterior: Tensor) -> float:
        return float(log_posterior[torch.arange(len(labels)), labels].double().sum())

    # All views share the prior of each fold, whose likelihood follows from any view's own gain.
    first = fitted[0]
    prior = likelihood(first.crossfit_posterior.log()) / (1 - first.gain) if first.gain < 1 else -float("inf")
    return max(1 - likelihood(mixed) / prior, 0.0)


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

    def log_posterior(self, features: Float[Tensor, "rows width"]) -> Float[Tensor, "rows classes"]:
        evidence = ((features.float() - self.mean) / self.scale) @ self.weight + self.bias
        return (self.log_prior + evidence / self.temperature).log_softmax(dim=1)
