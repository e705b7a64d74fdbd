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
        crossfit_log_posterior: `[labelled, classes]`, of the labelled rows by the log-mean, each from probes that did
            not see the row.
        information_gain: of the log-mean, cross-fitted; see `FittedProbe`.
    """

    probes: tuple[FittedProbe, ...]
    shares: Float[Tensor, " views"]
    crossfit_log_posterior: Float[Tensor, "labelled classes"]
    information_gain: float


def views(outputs: ModelOutputs) -> tuple[Tensor, ...]:
    """The views of a teacher: its pooled layers, where the outputs hold them, and what its head reads.

    Args:
        outputs: of the teacher.

    Returns:
        A tensor `[rows, width of the view]` each, from the first layer to the features.
    """
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
        target: names of the classes, for error messages.
        gain_exponent: exponent of a view's information gain in its share: views that know little hardly count.

    Raises:
        DatasetError: if fewer than two classes are labelled, or one of them has a single row.
        InvalidArgumentError: if features are not finite.
    """
    fitted = tuple(probe.fit(view, labels, n_classes, target=target) for view in views(outputs))
    shares = gain_shares(torch.tensor([view.relatedness for view in fitted]), gain_exponent)
    log_posterior = log_mean(shares, [view.crossfit_posterior.log() for view in fitted])
    gain = information_gain_of(log_posterior, labels[labels != UNLABELLED].cpu(), fitted[0].prior_log_likelihood)
    return LayeredProbe(fitted, shares, log_posterior, gain)


def cross_fit_layers(
    probe: LinearProbe,
    outputs: ModelOutputs,
    labels: Int[Tensor, " rows"],
    n_classes: int,
    *,
    gain_exponent: float = 4.0,
    max_axes: int | None = None,
) -> Float[Tensor, " labelled"]:
    """Cross-fitted information gain of each labelled row; with all axes their mean is that of `fit_layers`.

    It takes less time than `fit_layers`, as no probe is fitted to all rows.

    Args:
        probe: how to fit each.
        outputs: of the teacher, with its `layers` if they are to be read too.
        labels: target labels; rows with -100 are ignored.
        n_classes: number of target classes.
        gain_exponent: see `fit_layers`.
        max_axes: see `LinearProbe.cross_fit`.

    Raises:
        DatasetError: if fewer than two classes are labelled, or one of them has a single row.
        InvalidArgumentError: if features are not finite.
    """
    fitted = [probe.cross_fit(view, labels, n_classes, max_axes=max_axes) for view in views(outputs)]
    shares = gain_shares(torch.tensor([max(view.information_gain, 0.0) for view in fitted]), gain_exponent)
    log_posterior = log_mean(shares, [view.posterior.log() for view in fitted])
    count = len(fitted[0].labels)
    log_likelihoods = log_posterior[torch.arange(count), fitted[0].labels].double()
    # Each row's gain is over the mean log-likelihood under the class shares, which makes their mean the gain of all.
    return 1 - log_likelihoods / (fitted[0].prior_log_likelihood / count)


def gain_shares(gains: Float[Tensor, " members"], gain_exponent: float) -> Float[Tensor, " members"]:
    """Shares in proportion to a power of the information gains, summing to one; equal ones where all gains are zero.

    Args:
        gains: cross-fitted gains, not negative; those below 1e-6 count as 1e-6.
        gain_exponent: the higher, the less members with a small gain count.
    """
    powered = gains.clamp_min(1e-6) ** gain_exponent
    return powered / powered.sum()


def log_mean(
    shares: Float[Tensor, " members"], log_posteriors: Sequence[Float[Tensor, "rows classes"]]
) -> Float[Tensor, "rows classes"]:
    """The normalised geometric mean of several posteriors, as log probabilities.

    Args:
        shares: weight of each posterior, summing to one.
        log_posteriors: log probabilities by each member.
    """
    mean = sum(share * log_posterior for share, log_posterior in zip(shares, log_posteriors, strict=True))
    return torch.as_tensor(mean).log_softmax(dim=1)


def information_gain_of(
    log_posterior: Float[Tensor, "labelled classes"], labels: Int[Tensor, " labelled"], prior_log_likelihood: float
) -> float:
    """Share of the label entropy that posteriors explain: 1 is perfect, 0 no better than the class prior.

    Args:
        log_posterior: of labelled rows, each from a probe that was not fitted to the row.
        labels: their class ids.
        prior_log_likelihood: log-likelihood of these labels under the class shares alone, summed over rows; see
            `FittedProbe`.
    """
    return 1 - float(log_posterior[torch.arange(len(labels)), labels].double().sum()) / prior_log_likelihood
