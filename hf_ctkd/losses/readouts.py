"""What teachers say about the target classes, read out of their layers: one posterior a row out of one or several."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hf_ctkd.costs import FittedReadout, Readout, gain_shares, log_mean, read_layers, views
from hf_ctkd.losses.base import LossContext, require_teachers
from hf_ctkd.types import LabelSpace, ModelOutputs


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
        self.shares = gain_shares(self.gains, self.power)

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
        fitted = read_layers(readout, outputs, labels, len(space), target=space, power=power)
        self.probes = nn.ModuleList(_Probe(one) for one in fitted.readouts)
        self.register_buffer("shares", fitted.shares)
        self.gain = max(fitted.gain, 0.0)

    def log_posterior(self, outputs: ModelOutputs) -> Float[Tensor, "rows classes"]:
        probes = [probe for probe in self.probes if isinstance(probe, _Probe)]
        return log_mean(
            self.shares, [probe.log_posterior(view) for probe, view in zip(probes, views(outputs), strict=True)]
        )


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
