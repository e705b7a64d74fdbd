"""PACTran with a Gaussian prior: a PAC-Bayesian bound on the loss of a linear classifier over the features."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.metrics.base import TransferabilityMetric
from hf_ctkd.probes.solver import Basis, fit_path
from hf_ctkd.types import ModelOutputs, Needs


@dataclass(frozen=True)
class PACTran(TransferabilityMetric):
    """Minus the least PAC-Bayesian bound on the cross-entropy of a Gaussian over linear classifiers.

    The bound, with `theta` the classifier that is best under the prior, `k` its number of weights and `H` the trace of
    the Hessian of its mean loss over `n` rows, is
    `loss(theta) + |theta|^2 / (2 n s) + k / (2 n) log(1 + n s H / k)`, `s` being the prior variance: the best that a
    posterior with one variance can do, to second order. Use it for teachers without a head; it holds complexity
    against them by itself, so no rows are held out. With few rows the prior variance decides much.

    Args:
        prior_variance: of the weights over features of unit mean squared length, positive.

    Raises:
        InvalidArgumentError: if `prior_variance` is not positive.

    Reference:
        After Ding et al., "PACTran", ECCV 2022, arXiv:2203.05126 (the Gaussian variant, at temperature `n`);
        standardised features and biases with the same prior around the log class shares are ours.

    Example:
        >>> import torch
        >>> from hf_ctkd.types import ModelOutputs
        >>> labels = torch.arange(2).repeat(50)
        >>> noise = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> apart = noise + 5 * labels[:, None]
        >>> PACTran().score(ModelOutputs(apart), labels) > PACTran().score(ModelOutputs(noise), labels)
        True
    """

    prior_variance: float = 100.0

    name: ClassVar[str] = "pactran"
    citation: ClassVar[str] = r"""@inproceedings{ding2022pactran,
  title = {{PACTran}: {PAC}-{B}ayesian metrics for estimating the transferability of pretrained models to
    classification tasks},
  author = {Ding, Nan and Chen, Xi and Levinboim, Tomer and Changpinyo, Soravit and Soricut, Radu},
  booktitle = {ECCV},
  year = {2022},
  eprint = {2203.05126},
  archivePrefix = {arXiv}
}"""
    needs: ClassVar[Needs] = Needs.FEATURES

    def __post_init__(self) -> None:
        if not self.prior_variance > 0:
            raise InvalidArgumentError(f"`prior_variance` must be positive, got {self.prior_variance}.")

    def of_rows(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> float:
        """See `TransferabilityMetric.of_rows`."""
        # In principal axes nothing changes but the number of unknowns: the prior is the same in all directions.
        rows = Basis.of(outputs.features).rows
        number, classes = len(labels), int(labels.max()) + 1
        log_prior = (torch.bincount(labels).double() / number).log()
        one_hot = F.one_hot(labels, classes).double()
        (weights,) = fit_path(rows, one_hot, log_prior=log_prior, strengths=(1 / self.prior_variance,))
        inputs = torch.cat([rows, rows.new_ones(number, 1)], dim=1)
        log_posterior = (log_prior + inputs @ weights).log_softmax(dim=1)
        loss = -float(log_posterior.gather(1, labels[:, None]).mean())
        spread = log_posterior.exp() * (1 - log_posterior.exp())
        trace = float((inputs.square().sum(dim=1) * spread.sum(dim=1)).mean())
        unknowns = (outputs.features.shape[1] + 1) * classes
        penalty = float(weights.square().sum()) / (2 * number * self.prior_variance)
        flatness = unknowns / (2 * number) * math.log1p(number * self.prior_variance * trace / unknowns)
        return -(loss + penalty + flatness)
