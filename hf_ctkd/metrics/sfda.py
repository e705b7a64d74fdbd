"""SFDA: regularised Fisher discriminant analysis that is made to classify harder rows than those at hand."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.metrics.base import TransferabilityMetric, class_means
from hf_ctkd.probes.gram import gram
from hf_ctkd.types import ModelOutputs, Needs

_LEAST = 1e-10


@dataclass(frozen=True)
class SFDA(TransferabilityMetric):
    """Mean log-likelihood of the labels under a Fisher discriminant, after unsure rows were moved to other classes.

    A first discriminant says how sure it is of every row; a row is then mixed with the mean of the other classes as
    far as it is unsure, and a second discriminant is judged on the mixed rows. The covariance within classes is
    regularised the more, the less it spreads, in a unit in which the mean variance of a feature is one. Use it for many
    rows; where rows are fewer than features every class is told apart and all scores are near zero.

    Args:
        strength: of the decay of the regularisation with the largest variance within classes, positive.

    Raises:
        InvalidArgumentError: if `strength` is not positive.

    Reference:
        Reconstructed from Shao et al., "Not all models are equal", ECCV 2022, arXiv:2207.03036;
        the unit of the features is an addition, without which teachers of large features went unregularised.

    Example:
        >>> import torch
        >>> from hf_ctkd.types import ModelOutputs
        >>> labels = torch.arange(2).repeat(50)
        >>> noise = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> apart = noise + 5 * labels[:, None]
        >>> SFDA().score(ModelOutputs(apart), labels) > SFDA().score(ModelOutputs(noise), labels)
        True
    """

    strength: float = 5.0

    name: ClassVar[str] = "sfda"
    citation: ClassVar[str] = r"""@inproceedings{shao2022not,
  title = {Not all models are equal: predicting model transferability in a self-challenging {F}isher space},
  author = {Shao, Wenqi and Zhao, Xun and Ge, Yixiao and Zhang, Zhaoyang and Yang, Lei and Wang, Xiaogang and Shan,
    Ying and Luo, Ping},
  booktitle = {ECCV},
  year = {2022},
  eprint = {2207.03036},
  archivePrefix = {arXiv}
}"""
    needs: ClassVar[Needs] = Needs.FEATURES

    def __post_init__(self) -> None:
        if not self.strength > 0:
            raise InvalidArgumentError(f"`strength` must be positive, got {self.strength}.")

    def of_rows(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> float:
        """See `TransferabilityMetric.of_rows`."""
        features = outputs.features - outputs.features.mean(dim=0)
        features = features / features.square().mean().sqrt().clamp_min(torch.finfo(features.dtype).tiny)
        within = _within(features, labels)
        shrinkage = max(math.exp(-self.strength * float(torch.linalg.eigvalsh(within)[-1])), _LEAST)
        first = _log_posterior(features, labels, within, shrinkage)
        sure = first.gather(1, labels[:, None]).exp()
        means, counts = class_means(features, labels)
        others = ((counts[:, None] * means).sum(dim=0) - counts[:, None] * means) / (len(labels) - counts[:, None])
        # Confidence mixing: x_i' = p_i x_i + (1 - p_i) (mean of the other classes), p_i the confidence in its label.
        mixed = sure * features + (1 - sure) * others[labels]
        second = _log_posterior(mixed, labels, _within(mixed, labels), shrinkage)
        return float(second.gather(1, labels[:, None]).mean())


def _within(features: Float[Tensor, "rows width"], labels: Int[Tensor, " rows"]) -> Float[Tensor, "width width"]:
    """Covariance of the features around the means of their classes."""
    means, _ = class_means(features, labels)
    centred = features - means[labels]
    return gram(centred) / len(centred)


def _log_posterior(
    features: Float[Tensor, "rows width"],
    labels: Int[Tensor, " rows"],
    within: Float[Tensor, "width width"],
    shrinkage: float,
) -> Float[Tensor, "rows classes"]:
    """Log posterior of a linear discriminant with covariance `shrinkage I + (1 - shrinkage) within`.

    All directions are kept: those outside the span of the class means, which the analysis would drop, add the same to
    every class.
    """
    means, counts = class_means(features, labels)
    covariance = (1 - shrinkage) * within
    covariance.diagonal().add_(shrinkage)
    axes = torch.linalg.solve(covariance, means.T)
    offset = (counts / len(labels)).log() - 0.5 * (means * axes.T).sum(dim=1)
    return (features @ axes + offset).log_softmax(dim=1)
