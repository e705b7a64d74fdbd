"""What teachers' features say about the target classes: one posterior a row out of one or several teachers."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hf_ctkd.costs import FittedReadout, Readout
from hf_ctkd.losses.base import LossContext, require_teachers
from hf_ctkd.types import ModelOutputs


class TeacherReadouts(nn.Module):
    """The fitted readouts of all teachers, as buffers, and their log-mean.

    A committee's posterior is the mean of its members' log posteriors, weighted by their cross-fitted gain to a high
    power and renormalised: members that know little hardly count.

    Args:
        readout: how to fit.
        power: of the gain in the weights of a committee.
    """

    gains: Tensor
    shares: Tensor

    def __init__(self, readout: Readout, power: float = 4.0) -> None:
        super().__init__()
        self.readout = readout
        self.power = power
        self.probes = nn.ModuleList()
        self.register_buffer("gains", torch.zeros(0))
        self.register_buffer("shares", torch.zeros(0))

    def fit(self, context: LossContext) -> None:
        """Fit one readout a teacher on the labelled rows.

        Raises:
            DatasetError: if a class has a single labelled row, or only one class is labelled.
            InvalidArgumentError: if there is no teacher.
        """
        require_teachers(context, "a loss that reads features")
        fitted = [
            self.readout.fit(outputs.features, context.labels, len(context.label_space), target=context.label_space)
            for outputs in context.teachers
        ]
        self.probes.extend(_Probe(one) for one in fitted)
        self.gains = torch.tensor([one.relatedness for one in fitted])
        powered = self.gains.clamp_min(1e-6) ** self.power
        self.shares = powered / powered.sum()

    @property
    def _fitted(self) -> "list[_Probe]":
        return [probe for probe in self.probes if isinstance(probe, _Probe)]

    @property
    def weight(self) -> Tensor:
        """How far the posterior is to be trusted, in [0, 1]: the gain of the members, by their share."""
        return (self.gains * self.shares).sum()

    @torch.no_grad()
    def log_posterior(self, teachers: tuple[ModelOutputs, ...]) -> Float[Tensor, "rows classes"]:
        """Log probabilities of the target classes."""
        mixed = sum(
            share * probe.log_posterior(outputs.features)
            for share, probe, outputs in zip(self.shares, self._fitted, teachers, strict=True)
        )
        return torch.as_tensor(mixed).log_softmax(dim=1)


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
