"""Target classes read out of a teacher's features by a small regularised probe, and how much that probe knows."""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.ot.precision import full_products
from hf_ctkd.probes.folds import deal_folds, row_groups
from hf_ctkd.probes.labelled import labelled_rows
from hf_ctkd.probes.prior import estimate_prior
from hf_ctkd.probes.solver import Basis, fit_path, fit_paths
from hf_ctkd.types import LabelSpace, ModelOutputs

# Inverse temperatures that are tried: 1 leaves the probe as fitted, close to 0 leaves the class prior alone.
_INVERSE_TEMPERATURES = (1e-6, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0)

_LEAST_RISE = 3e-4
"""Rise of the information gain from one ridge strength to the next below which no weaker one is tried."""


@dataclass(frozen=True)
class FittedProbe:
    """Target-class posteriors of any rows, from the teacher's features: `softmax(log_prior + evidence / temperature)`.

    The evidence of a row is what its standardised features add to the log prior of each class, in nats:
    `(features - mean) / scale @ weight + bias`. All tensors can be registered as buffers of a module.

    Args:
        weight: `[width, classes]`, from standardised features to evidence.
        bias: `[classes]`, of the evidence.
        log_prior: `[classes]`, log class shares of the labelled rows, shrunk towards equal shares.
        mean: `[width]`, subtracted from the features.
        scale: `[width]`, by which the centred features are divided.
        temperature: a scalar that calibrates the evidence; very large where features say nothing, which leaves the
            prior.
        information_gain: share of the label entropy that the probe explains on rows it did not see: 1 is perfect, 0 no
            better than the class prior, negative worse than it.
        prior_log_likelihood: log-likelihood of the labelled rows under cross-fitted class shares alone, in nats, summed
            over rows.
        crossfit_posterior: `[labelled, classes]`, posteriors of the labelled rows, in their order, each from a probe
            that did not see the row.
        strength: ridge strength that was chosen, one of `LinearProbe.strengths`.
    """

    weight: Float[Tensor, "width classes"]
    bias: Float[Tensor, " classes"]
    log_prior: Float[Tensor, " classes"]
    mean: Float[Tensor, " width"]
    scale: Float[Tensor, " width"]
    temperature: Float[Tensor, ""]
    information_gain: float
    prior_log_likelihood: float
    crossfit_posterior: Float[Tensor, "labelled classes"]
    strength: float

    @property
    def relatedness(self) -> float:
        """The information gain, clipped at zero: a weight in [0, 1] for what this teacher says."""
        return max(self.information_gain, 0.0)

    def log_posterior(self, features: Float[Tensor, "rows width"]) -> Float[Tensor, "rows classes"]:
        """Log probabilities of the target classes, on the device of the features.

        Args:
            features: of any rows, as wide as those that the probe was fitted to.
        """
        probe = self.to(features.device)
        inputs = (features.to(self.weight.dtype) - probe.mean) / probe.scale
        evidence = inputs @ probe.weight + probe.bias
        return (probe.log_prior + evidence / probe.temperature).log_softmax(dim=1)

    def posterior(self, features: Float[Tensor, "rows width"]) -> Float[Tensor, "rows classes"]:
        """Probabilities of the target classes, on the device of the features.

        Args:
            features: of any rows, as wide as those that the probe was fitted to.
        """
        return self.log_posterior(features).exp()

    def to(self, device: torch.device | str) -> "FittedProbe":
        """The same probe on another device."""
        return replace(
            self,
            weight=self.weight.to(device),
            bias=self.bias.to(device),
            log_prior=self.log_prior.to(device),
            mean=self.mean.to(device),
            scale=self.scale.to(device),
            temperature=self.temperature.to(device),
            crossfit_posterior=self.crossfit_posterior.to(device),
        )


@dataclass(frozen=True, eq=False)
class CrossFit:
    """Posteriors of labelled rows by probes that did not see them, and the settings that predict them best.

    Args:
        basis: the features in their principal axes.
        labels: of the labelled rows.
        posterior: `[labelled, classes]`, of these rows, each from a probe that did not see the row.
        information_gain: see `FittedProbe`.
        prior_log_likelihood: see `FittedProbe`.
        strength: ridge strength with the highest held-out likelihood.
        inverse_temperature: factor of the evidence with the highest held-out likelihood.
    """

    basis: Basis
    labels: Int[Tensor, " labelled"]
    posterior: Float[Tensor, "labelled classes"]
    information_gain: float
    prior_log_likelihood: float
    strength: float
    inverse_temperature: float


@dataclass(frozen=True)
class LinearProbe:
    """A ridge logistic probe from a teacher's features to the target classes, tuned and judged by cross-fitting.

    Use its posterior as a soft target where teacher and target share no label, weighted by
    `FittedProbe.relatedness`, and its information gain as a score of the teacher. It reads features, so headless
    encoders serve too. It needs at least two labelled rows of every class that occurs.

    The cross-fitted posterior of a labelled row comes from a probe that was fitted without the row's fold, under the
    ridge strength and temperature that do best on the *other* folds. So neither the choice of these two nor duplicate
    rows, which share a fold, inflate `information_gain`.

    Args:
        strengths: ridge strengths to choose from, each positive: the precision of a Gaussian prior on the weights, for
            features scaled to a mean squared length of one. 1 keeps the evidence within about one nat, 0.01 within ten.
        folds: number of folds, at least 2; fewer are used where there are fewer different rows.
        seed: of the assignment to folds, which otherwise depends on the rows' content alone.

    Raises:
        InvalidArgumentError: if an argument is out of its range.

    Reference:
        Ours; calibration after Guo et al., arXiv:1706.04599, applied to the evidence so that it ends at the prior.

    Example:
        >>> import torch
        >>> labels = torch.arange(3).repeat(20)
        >>> features = torch.eye(3)[labels] + 0.1 * torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
        >>> fitted = LinearProbe().fit(features, labels, 3)
        >>> fitted.information_gain > 0.9, fitted.posterior(torch.eye(3)).argmax(dim=1)
        (True, tensor([0, 1, 2]))
    """

    strengths: tuple[float, ...] = (1.0, 0.1, 0.01)
    folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.strengths or not all(strength > 0 for strength in self.strengths):
            raise InvalidArgumentError(f"`strengths` must hold positive numbers, got {self.strengths}.")
        if self.folds < 2:
            raise InvalidArgumentError(f"`folds` must be at least 2, got {self.folds}.")

    def fit(
        self,
        features: Float[Tensor, "rows width"],
        labels: Int[Tensor, " rows"],
        n_classes: int,
        *,
        target: LabelSpace | None = None,
    ) -> FittedProbe:
        """Fit on the labelled rows, under the ridge strength and temperature that cross-fitting chooses.

        Args:
            features: the teacher's features, one vector a row.
            labels: target labels; rows with -100 are ignored.
            n_classes: number of target classes; those without a row keep a small share.
            target: names of the classes, for error messages.

        Raises:
            DatasetError: if fewer than two classes are labelled, one of them has a single row, or a label is not below
                `n_classes`.
            InvalidArgumentError: if features are not finite, or rows and labels differ in number.
        """
        crossfit = self.cross_fit(features, labels, n_classes, target=target)
        labels, basis = crossfit.labels, crossfit.basis
        prior = estimate_prior(labels, n_classes).double().log()
        strengths = self._path[: self._path.index(crossfit.strength) + 1]
        truth = F.one_hot(labels, n_classes).double()
        weights = fit_path(basis.rows, truth, log_prior=prior, strengths=strengths)[-1]
        return FittedProbe(
            weight=(basis.axes @ weights[:-1]).float(),
            bias=weights[-1].float(),
            log_prior=prior.float(),
            mean=basis.mean.float(),
            scale=basis.scale.float(),
            temperature=torch.tensor(1 / crossfit.inverse_temperature),
            information_gain=crossfit.information_gain,
            prior_log_likelihood=crossfit.prior_log_likelihood,
            crossfit_posterior=crossfit.posterior,
            strength=crossfit.strength,
        )

    def cross_fit(
        self,
        features: Float[Tensor, "rows width"],
        labels: Int[Tensor, " rows"],
        n_classes: int,
        *,
        target: LabelSpace | None = None,
        max_axes: int | None = None,
    ) -> CrossFit:
        """Cross-fit the probes of `fit`, but leave out the probe of all rows that it returns.

        Use it for a score of the features: with all axes the information gain is that of `fit`, for less time.

        Args:
            features: the teacher's features, one vector a row.
            labels: target labels; rows with -100 are ignored.
            n_classes: number of target classes; those without a row keep a small share.
            target: names of the classes, for error messages.
            max_axes: principal axes of the features that are read at most, those of the largest variance; None for all.
                Fewer take less time where features are wide and labelled rows many.

        Raises:
            DatasetError: if fewer than two classes are labelled, one of them has a single row, or a label is not below
                `n_classes`.
            InvalidArgumentError: if features are not finite, or rows and labels differ in number.
        """
        outputs, labels = labelled_rows(ModelOutputs(features=features), labels, n_classes=n_classes)
        _check_counts(labels, n_classes, target)
        with torch.no_grad(), torch.autocast("cpu", enabled=False), full_products():
            basis = Basis.of(outputs.features, max_axes)
            groups = row_groups(outputs.features, labels)
            fold = deal_folds(basis.standardise(outputs.features), labels, self.folds, self.seed, groups=groups)
            held_out = _held_out(basis.rows, labels, fold, n_classes=n_classes, strengths=self._path)
            posterior = _chosen_without_own_fold(held_out, fold)
        of_label = torch.arange(len(labels)), labels
        prior_log_likelihood = float(held_out.log_prior[of_label].sum())
        strength, temperature = _best(held_out.log_likelihood.sum(dim=2))
        return CrossFit(
            basis=basis,
            labels=labels,
            posterior=posterior.float(),
            information_gain=1 - float(posterior[of_label].log().sum()) / prior_log_likelihood,
            prior_log_likelihood=prior_log_likelihood,
            strength=self._path[strength],
            inverse_temperature=_INVERSE_TEMPERATURES[temperature],
        )

    @property
    def _path(self) -> tuple[float, ...]:
        return tuple(sorted(self.strengths, reverse=True))


def _check_counts(labels: Int[Tensor, " labelled"], n_classes: int, target: LabelSpace | None) -> None:
    counts = torch.bincount(labels, minlength=n_classes)
    if int((counts > 0).sum()) < 2:
        raise DatasetError("All labelled rows are of one class, but two are needed. Label rows of other classes too.")
    if int((counts == 1).sum()):
        single = int((counts == 1).nonzero()[0])
        name = f"{single}" if target is None else f"{target.names[single]!r}"
        raise DatasetError(
            f"Class {name} has a single labelled row, but cross-fitting needs two. Label another row of it, or drop it."
        )


@dataclass(frozen=True, eq=False)
class _HeldOut:
    """Predictions for every row by the probes of the other folds.

    Args:
        log_prior: of the classes, from the labels of the other folds.
        evidence: for every ridge strength that was tried, strongest first.
        log_likelihood: of each row's label, for every strength and inverse temperature.
    """

    log_prior: Float[Tensor, "rows classes"]
    evidence: Float[Tensor, "strengths rows classes"]
    log_likelihood: Float[Tensor, "strengths temperatures rows"]


def _held_out(
    rows: Float[Tensor, "rows rank"],
    labels: Int[Tensor, " rows"],
    fold: Int[Tensor, " rows"],
    *,
    n_classes: int,
    strengths: tuple[float, ...],
) -> _HeldOut:
    """Fit a probe for each fold to the rows of all others, for each ridge strength from the strongest to weaker ones.

    No weaker strength is fitted once one hardly does better than the one before it: half of the time of all strengths
    goes to the weakest, which teachers that know little or everything do not need.
    """
    one_hot = F.one_hot(labels, n_classes).double()
    outside = [(fold != number).nonzero()[:, 0] for number in range(int(fold.max()) + 1)]
    priors = torch.stack([estimate_prior(labels[rest], n_classes).double().log() for rest in outside])
    # Folds differ by a few rows: rows without mass make them equal.
    path = fit_paths(
        pad_sequence([rows[rest] for rest in outside], batch_first=True),
        pad_sequence([one_hot[rest] for rest in outside], batch_first=True),
        log_prior=priors,
        strengths=strengths,
    )
    log_prior = priors[fold]
    least_rise = -_LEAST_RISE * float(log_prior[torch.arange(len(labels)), labels].sum())
    evidence: list[Tensor] = []
    log_likelihood: list[Tensor] = []
    before = -math.inf
    for weights in path:
        evidence.append(_evidence_of_others(rows, fold, weights))
        log_likelihood.append(_log_likelihood(log_prior, evidence[-1], labels))
        best = float(log_likelihood[-1].sum(dim=1).max())
        if best - before < least_rise:
            break
        before = best
    return _HeldOut(log_prior, torch.stack(evidence), torch.stack(log_likelihood))


def _evidence_of_others(
    rows: Float[Tensor, "rows rank"], fold: Int[Tensor, " rows"], weights: Float[Tensor, "folds rank_and_one classes"]
) -> Float[Tensor, "rows classes"]:
    """Evidence of every row by the probe that was fitted without its fold."""
    evidence = rows.new_empty(len(rows), weights.shape[2])
    for number, of_fold in enumerate(weights):
        inside = (fold == number).nonzero()[:, 0]
        evidence[inside] = rows[inside] @ of_fold[:-1] + of_fold[-1]
    return evidence


def _log_likelihood(
    log_prior: Float[Tensor, "rows classes"], evidence: Float[Tensor, "rows classes"], labels: Int[Tensor, " rows"]
) -> Float[Tensor, "temperatures rows"]:
    """Held-out log-likelihood of every row for every inverse temperature."""
    of_label = torch.arange(len(labels)), labels
    return torch.stack(
        [(log_prior + factor * evidence).log_softmax(dim=1)[of_label] for factor in _INVERSE_TEMPERATURES]
    )


def _best(totals: Float[Tensor, "strengths temperatures"]) -> tuple[int, int]:
    """Indices of the strength and the inverse temperature with the highest total."""
    return divmod(int(totals.argmax()), totals.shape[1])


def _chosen_without_own_fold(held_out: _HeldOut, fold: Int[Tensor, " rows"]) -> Float[Tensor, "rows classes"]:
    """Cross-fitted posteriors, each row under the strength and temperature that do best on the other folds."""
    posterior = torch.empty_like(held_out.log_prior)
    for number in range(int(fold.max()) + 1):
        inside = fold == number
        strength, temperature = _best(held_out.log_likelihood[:, :, ~inside].sum(dim=2))
        evidence = _INVERSE_TEMPERATURES[temperature] * held_out.evidence[strength, inside]
        posterior[inside] = (held_out.log_prior[inside] + evidence).softmax(dim=1)
    return posterior
