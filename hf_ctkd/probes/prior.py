"""How often each target class occurs, guessed from a few labels, with how unsure that is."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.probes.labelled import check_labels
from hf_ctkd.types import UNLABELLED


class ClassPrior(NamedTuple):
    """Class shares and their standard errors.

    Args:
        probabilities: `[classes]`, positive, summing to one.
        uncertainty: `[classes]`, one standard error of each share.
    """

    probabilities: Tensor
    uncertainty: Tensor


def estimate_prior(labels: Int[Tensor, " rows"], n_classes: int) -> ClassPrior:
    """Class shares from labelled counts, shrunk towards equal shares as far as the counts allow.

    Counts that chance alone explains give equal shares; clearly unequal counts are kept. A class that no row shows
    keeps a small share. Use it where the labelled rows were drawn as the task's rows are; where they were picked
    class by class, their counts say nothing of the task.

    Args:
        labels: class ids; rows with -100 are ignored.
        n_classes: number of classes.

    Raises:
        DatasetError: if no row is labelled or a label is out of range.

    Reference:
        After Hausser and Strimmer, "Entropy inference and the James-Stein estimator", arXiv:0811.3579.

    Example:
        >>> import torch
        >>> estimate_prior(torch.tensor([0, 0, 1, -100, 1, 1]), 2).probabilities
        tensor([0.5000, 0.5000])
        >>> estimate_prior(torch.tensor([0] * 90 + [1] * 10), 2).probabilities.round(decimals=2)
        tensor([0.9000, 0.1000])
    """
    chosen = labels[labels != UNLABELLED].cpu().long()
    check_labels(chosen, n_classes)
    rows = len(chosen)
    shares = torch.bincount(chosen, minlength=n_classes).double() / rows
    distance = float((shares - 1 / n_classes).square().sum())
    noise = (1 - float(shares.square().sum())) / max(rows - 1, 1)
    shrinkage = 1.0 if noise >= distance else noise / distance
    # Shares that are all one class have no estimated noise, yet the others must keep some mass.
    shrinkage = max(shrinkage, 1 / (rows + 1))
    prior = (1 - shrinkage) * shares + shrinkage / n_classes
    return ClassPrior(prior.float(), (prior * (1 - prior) / (rows + 1)).sqrt().float())


def refine_prior(
    prior: Float[Tensor, " classes"],
    posterior: Float[Tensor, "rows classes"],
    *,
    strength: float,
    max_steps: int = 1000,
    tolerance: float = 1e-6,
) -> Float[Tensor, " classes"]:
    """A class prior moved towards what the posteriors of unlabelled rows say, by expectation maximisation.

    Use it only with calibrated posteriors (such as `FittedProbe.posterior`) that were computed under `prior`.

    Args:
        prior: class shares under which the posteriors were computed; also what the result is held back to.
        posterior: of unlabelled rows, each row summing to one.
        strength: how many rows the prior counts for, not negative; 0 gives plain maximum likelihood.
        max_steps: most rounds of expectation and maximisation.
        tolerance: stop when no share moves more than this in a round.

    Raises:
        InvalidArgumentError: if `strength` is negative.

    Reference:
        After Saerens, Latinne and Decaestecker, "Adjusting the outputs of a classifier to new a priori probabilities",
        Neural Computation 14(1), 2002; the hold towards the prior is the usual Dirichlet one.
    """
    if strength < 0:
        raise InvalidArgumentError(f"`strength` must not be negative, got {strength}.")
    held = prior.double() / prior.sum()
    ratio = posterior.double() / held
    current = held
    for _ in range(max_steps):
        expected = ratio * current
        expected = expected / expected.sum(dim=1, keepdim=True)
        moved = (expected.sum(dim=0) + strength * held) / (len(posterior) + strength)
        done = float((moved - current).abs().max()) <= tolerance
        current = moved
        if done:
            break
    return current.to(prior.dtype)
