"""Target classes read out of a teacher's features by a small regularised probe, and how much that probe knows."""

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

# Shares of the evidence that are tried: 1 leaves the probe as fitted, close to 0 leaves the class prior alone.
_SHARES = (1e-6, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0)

_LEAST_RISE = 3e-4
"""Rise of the information gain from one ridge strength to the next below which no weaker one is tried."""


@dataclass(frozen=True)
class FittedProbe:
    """Target-class posteriors of any rows, from the teacher's features: `softmax(log_prior + evidence / temperature)`.

    All tensors can be registered as buffers of a module.

    Args:
        weight: `[width, classes]`.
        bias: `[classes]`.
        log_prior: `[classes]`, log class shares of the labelled rows, shrunk towards equal shares.
        mean: `[width]`, of the features.
        scale: `[width]`, of the features.
        temperature: calibrates the evidence; very large where features say nothing, which leaves the prior.
        information_gain: share of the label entropy that the probe explains on rows it did not see: 1 is perfect, 0 no
            better than the class prior, negative worse than it.
        prior_likelihood: log-likelihood of the labelled rows under cross-fitted class shares alone, in nats.
        crossfit_posterior: posteriors of the labelled rows, in their order, each from a probe that did not see the row.
        strength: ridge strength that was chosen.
    """

    weight: Float[Tensor, "width classes"]
    bias: Float[Tensor, " classes"]
    log_prior: Float[Tensor, " classes"]
    mean: Float[Tensor, " width"]
    scale: Float[Tensor, " width"]
    temperature: Float[Tensor, ""]
    information_gain: float
    prior_likelihood: float
    crossfit_posterior: Float[Tensor, "labelled classes"]
    strength: float

    @property
    def relatedness(self) -> float:
        """The information gain, clipped at zero: a weight in [0, 1] for what this teacher says."""
        return max(self.information_gain, 0.0)

    def log_posterior(self, features: Float[Tensor, "rows width"]) -> Float[Tensor, "rows classes"]:
        """Log probabilities of the target classes, on the device of the features."""
        probe = self.to(features.device)
        inputs = (features.to(self.weight.dtype) - probe.mean) / probe.scale
        evidence = inputs @ probe.weight + probe.bias
        return (probe.log_prior + evidence / probe.temperature).log_softmax(dim=1)

    def posterior(self, features: Float[Tensor, "rows width"]) -> Float[Tensor, "rows classes"]:
        """Probabilities of the target classes, on the device of the features."""
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
    """What probes say of labelled rows that they did not see.

    Args:
        basis: the features in their principal axes.
        labels: of the labelled rows.
        posterior: of these rows, each from a probe that did not see the row.
        information_gain: see `FittedProbe`.
        prior_likelihood: see `FittedProbe`.
        strength: ridge strength that does best.
        share: share of the evidence that does best, one over the temperature.
    """

    basis: Basis
    labels: Int[Tensor, " labelled"]
    posterior: Float[Tensor, "labelled classes"]
    information_gain: float
    prior_likelihood: float
    strength: float
    share: float


@dataclass(frozen=True)
class LinearProbe:
    """A ridge logistic probe from a teacher's features to the target classes, tuned and judged by cross-fitting.

    Use it as a soft target where teacher and target share no label, weighted by `relatedness`, and as a score of the
    teacher. It reads features, so headless encoders serve too. It needs at least two labelled rows of every class
    that occurs.

    The posterior of a labelled row comes from a probe that was fitted without the row's fold, under the ridge strength
    and temperature that do best on the *other* folds. So neither their choice nor duplicate rows, which share a fold,
    flatter `information_gain`.

    Args:
        strengths: ridge strengths to choose from, each positive, as precision of a Gaussian on weights over features
            whose mean squared length is one: 1 holds evidence to about one nat, 0.01 to about ten.
        folds: at least 2.
        seed: of the dealing into folds, which otherwise depends on the rows' content alone.

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
        if not self.strengths or min(self.strengths) <= 0:
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
        """Fit on the labelled rows.

        Args:
            features: the teacher's features, one vector a row.
            labels: target labels; rows with -100 are ignored.
            n_classes: number of target classes; those without a row keep a small share.
            target: names of the classes, for messages.

        Raises:
            DatasetError: if fewer than two classes are labelled, or one of them has a single row.
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
            temperature=torch.tensor(1 / crossfit.share),
            information_gain=crossfit.information_gain,
            prior_likelihood=crossfit.prior_likelihood,
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
    ) -> CrossFit:
        """Judge the features on rows that their probes did not see, without the probe of all rows.

        Args:
            features: the teacher's features, one vector a row.
            labels: target labels; rows with -100 are ignored.
            n_classes: number of target classes; those without a row keep a small share.
            target: names of the classes, for messages.

        Raises:
            DatasetError: if fewer than two classes are labelled, or one of them has a single row.
            InvalidArgumentError: if features are not finite, or rows and labels differ in number.
        """
        outputs, labels = labelled_rows(ModelOutputs(features=features), labels, n_classes=n_classes)
        _check_counts(labels, n_classes, target)
        with torch.no_grad(), torch.autocast("cpu", enabled=False), full_products():
            basis = Basis.of(outputs.features)
            groups = row_groups(outputs.features, labels)
            fold = deal_folds(basis.rows @ basis.axes.T, labels, self.folds, self.seed, groups=groups)
            held_out = _held_out(basis.rows, labels, fold, n_classes=n_classes, strengths=self._path)
            posterior = _chosen_without_own_fold(held_out, fold)
        of_label = torch.arange(len(labels)), labels
        prior_likelihood = float(held_out.log_prior[of_label].sum())
        best, share = _best(held_out.likelihood.sum(dim=2))
        return CrossFit(
            basis=basis,
            labels=labels,
            posterior=posterior.float(),
            information_gain=1 - float(posterior[of_label].log().sum()) / prior_likelihood,
            prior_likelihood=prior_likelihood,
            strength=self._path[best],
            share=_SHARES[share],
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
    """What the probes of other folds say of every row.

    Args:
        log_prior: of the classes.
        evidence: of every ridge strength that was tried, strongest first.
        likelihood: log-likelihood of the labels for every strength and share of the evidence.
    """

    log_prior: Float[Tensor, "rows classes"]
    evidence: Float[Tensor, "strengths rows classes"]
    likelihood: Float[Tensor, "strengths shares rows"]


def _held_out(
    rows: Float[Tensor, "rows rank"],
    labels: Int[Tensor, " rows"],
    fold: Int[Tensor, " rows"],
    *,
    n_classes: int,
    strengths: tuple[float, ...],
) -> _HeldOut:
    """Fit each fold's probes to the others; no weaker strength once one hardly does better than the one before it.

    Half of the time of all strengths goes to the weakest, which teachers that know little or all do not need.
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
    likelihood: list[Tensor] = []
    for weights in path:
        evidence.append(_evidence_of_others(rows, fold, weights))
        likelihood.append(_log_likelihood(log_prior, evidence[-1], labels))
        best = [float(shares.sum(dim=1).max()) for shares in likelihood[-2:]]
        if len(best) == 2 and best[1] - best[0] < least_rise:
            break
    return _HeldOut(log_prior, torch.stack(evidence), torch.stack(likelihood))


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
) -> Float[Tensor, "shares rows"]:
    """Held-out log-likelihood of every row for every share of the evidence."""
    number = torch.arange(len(labels))
    return torch.stack([(log_prior + share * evidence).log_softmax(dim=1)[number, labels] for share in _SHARES])


def _best(totals: Float[Tensor, "strengths shares"]) -> tuple[int, int]:
    """Indices of the strength and the share with the highest total."""
    strength, share = divmod(int(totals.argmax()), totals.shape[1])
    return strength, share


def _chosen_without_own_fold(held_out: _HeldOut, fold: Int[Tensor, " rows"]) -> Float[Tensor, "rows classes"]:
    """Cross-fitted posteriors, each row under the strength and share that do best on the other folds."""
    posterior = torch.empty_like(held_out.log_prior)
    for number in range(int(fold.max()) + 1):
        inside = fold == number
        strength, share = _best(held_out.likelihood[:, :, ~inside].sum(dim=2))
        evidence = held_out.evidence[strength, inside]
        posterior[inside] = (held_out.log_prior[inside] + _SHARES[share] * evidence).softmax(dim=1)
    return posterior
