"""N-LEEP: LEEP over clusters of the features instead of the teacher's classes."""

import warnings
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.metrics.base import TransferabilityMetric, log_likelihoods_of_map, principal_components
from hf_ctkd.types import ModelOutputs, Needs

_ROWS_A_CLUSTER = 5


@dataclass(frozen=True)
class NLEEP(TransferabilityMetric):
    """LEEP, with the posterior of a Gaussian mixture on principal components in the place of the teacher's classes.

    Use it for teachers without a head, or whose classes are few. Like LEEP it is judged on the rows that it was fitted
    on; with fewer than about twenty rows a class prefer `InformationGain`.

    Args:
        clusters: components of the mixture for each target class, positive; there are fewer where that would leave
            less than five rows to each.
        variance: share of the features' variance that is kept, in (0, 1].

    Raises:
        InvalidArgumentError: an argument out of its range.

    Reference:
        After Li et al., "Ranking neural checkpoints", CVPR 2021, arXiv:2011.11200. Diagonal covariances and the limit
        on the number of components for few rows are ours.

    Example:
        >>> import torch
        >>> from hf_ctkd.types import ModelOutputs
        >>> labels = torch.arange(2).repeat(50)
        >>> noise = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> apart = noise + 5 * labels[:, None]
        >>> NLEEP().score(ModelOutputs(apart), labels) > NLEEP().score(ModelOutputs(noise), labels)
        True
    """

    clusters: int = 5
    variance: float = 0.8

    name: ClassVar[str] = "nleep"
    citation: ClassVar[str] = r"""@inproceedings{li2021ranking,
  title = {Ranking neural checkpoints},
  author = {Li, Yandong and Jia, Xuhui and Sang, Ruoxin and Zhu, Yukun and Green, Bradley and Wang, Liqiang and
    Gong, Boqing},
  booktitle = {CVPR},
  year = {2021},
  eprint = {2011.11200},
  archivePrefix = {arXiv}
}"""
    needs: ClassVar[Needs] = Needs.FEATURES

    def __post_init__(self) -> None:
        if self.clusters < 1:
            raise InvalidArgumentError(f"`clusters` must be at least 1, got {self.clusters}.")
        if not 0 < self.variance <= 1:
            raise InvalidArgumentError(f"`variance` must lie in (0, 1], got {self.variance}.")

    def of_rows(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> float:
        """See `TransferabilityMetric.of_rows`."""
        components = principal_components(outputs.features, variance=self.variance)
        scale = float(components.square().mean().sqrt())
        # The mixture keeps variances above an absolute floor, which means something on one scale only.
        components = components / scale if scale > 0 else components
        most = self.clusters * (int(labels.max()) + 1)
        number = max(1, min(most, len(labels) // _ROWS_A_CLUSTER))
        return float(log_likelihoods_of_map(_posterior(components, number), labels).mean())


def _posterior(points: Float[Tensor, "rows width"], number: int) -> Float[Tensor, "rows clusters"]:
    mixture = GaussianMixture(number, covariance_type="diag", random_state=0, max_iter=200)
    with warnings.catch_warnings():
        # Fewer distinct points than clusters, or a slow tail of the fit: both leave a posterior that serves.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(points.numpy())
    return torch.from_numpy(mixture.predict_proba(points.numpy())).double()
