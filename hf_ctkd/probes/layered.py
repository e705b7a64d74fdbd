"""The probes of all layers of one teacher, one per layer, and their log-mean."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.probes.probe import FittedProbe, LinearProbe
from hf_ctkd.types import UNLABELLED, LabelSpace, ModelOutputs


@dataclass(frozen=True)
class LayeredProbe:
    """Probes of all views of one teacher, and their log-mean.

    A view is a pooled layer, or what the teacher's head reads. The last layer of a teacher of another task has often
    dropped what the target needs; an earlier one has not.

    Args:
        probes: one per view, in the order of `views`.
        shares: `[views]`, of each probe in the log-mean, summing to one.
        crossfit: log posteriors of the labelled rows by the log-mean, each from probes that did not see the row.
        information_gain: of the log-mean, cross-fitted; see `FittedProbe`.
    """

    probes: tuple[FittedProbe, ...]
    shares: Float[Tensor, " views"]
    crossfit: Float[Tensor, "labelled classes"]
    information_gain: float


def views(outputs: ModelOutputs) -> tuple[Tensor, ...]:
    """The views of a teacher: its pooled layers, where the outputs hold them, and what its head reads."""
    return (*outputs.layers, outputs.features)


def fit_layers(
    probe: LinearProbe,
    outputs: ModelOutputs,
    labels: Int[Tensor, " rows"],
    n_classes: int,
    *,
    target: LabelSpace | None = None,
    gain_exponent: float = 4.0,
) -> LayeredProbe:
    """Fit a probe to every view of a teacher on the labelled rows.

    Args:
        probe: how to fit each.
        outputs: of the teacher, with its `layers` if they are to be read too.
        labels: target labels; rows with -100 are ignored.
        n_classes: number of target classes.
        target: names of the classes, for messages.
        gain_exponent: exponent of a view's information gain in its share: views that know little hardly count.

    Raises:
        DatasetError: if fewer than two classes are labelled, or one of them has a single row.
        InvalidArgumentError: if features are not finite.
    """
    fitted = tuple(probe.fit(view, labels, n_classes, target=target) for view in views(outputs))
    shares = gain_shares(torch.tensor([view.relatedness for view in fitted]), gain_exponent)
    crossfit = log_mean(shares, [view.crossfit_posterior.log() for view in fitted])
    gain = information_gain_of(crossfit, labels[labels != UNLABELLED].cpu(), fitted[0].prior_likelihood)
    return LayeredProbe(fitted, shares, crossfit, gain)


def cross_fit_layers(
    probe: LinearProbe,
    outputs: ModelOutputs,
    labels: Int[Tensor, " rows"],
    n_classes: int,
    *,
    gain_exponent: float = 4.0,
) -> Float[Tensor, " labelled"]:
    """What each labelled row contributes to the information gain of `fit_layers`, which is the mean.

    It takes no probes of all rows.

    Args:
        probe: how to fit each.
        outputs: of the teacher, with its `layers` if they are to be read too.
        labels: target labels; rows with -100 are ignored.
        n_classes: number of target classes.
        gain_exponent: see `fit_layers`.

    Raises:
        DatasetError: if fewer than two classes are labelled, or one of them has a single row.
        InvalidArgumentError: if features are not finite.
    """
    fitted = [probe.cross_fit(view, labels, n_classes) for view in views(outputs)]
    shares = gain_shares(torch.tensor([max(view.information_gain, 0.0) for view in fitted]), gain_exponent)
    crossfit = log_mean(shares, [view.posterior.log() for view in fitted])
    count = len(fitted[0].labels)
    likelihoods = crossfit[torch.arange(count), fitted[0].labels].double()
    # The prior's likelihood is that of all rows: it depends on the shares of the classes alone.
    return 1 - likelihoods / (fitted[0].prior_likelihood / count)


def gain_shares(gains: Float[Tensor, " members"], gain_exponent: float) -> Float[Tensor, " members"]:
    """Shares in proportion to a power of the information gains; equal ones where all gains are zero.

    Args:
        gains: cross-fitted gains, not negative.
        gain_exponent: the higher, the less members with a small gain count.
    """
    powered = gains.clamp_min(1e-6) ** gain_exponent
    return powered / powered.sum()


def log_mean(
    shares: Float[Tensor, " members"], log_posteriors: Sequence[Float[Tensor, "rows classes"]]
) -> Float[Tensor, "rows classes"]:
    """The normalised geometric mean of several posteriors.

    Args:
        shares: of each, summing to one.
        log_posteriors: log probabilities.
    """
    mean = sum(share * log_posterior for share, log_posterior in zip(shares, log_posteriors, strict=True))
    return torch.as_tensor(mean).log_softmax(dim=1)


def information_gain_of(
    log_posterior: Float[Tensor, "labelled classes"], labels: Int[Tensor, " labelled"], prior_likelihood: float
) -> float:
    """Share of the label entropy that posteriors explain: 1 is perfect, 0 no better than the class prior.

    Args:
        log_posterior: of labelled rows, each from a probe that was not fitted to the row.
        labels: their class ids.
        prior_likelihood: see `FittedProbe`.
    """
    return 1 - float(log_posterior[torch.arange(len(labels)), labels].double().sum()) / prior_likelihood
