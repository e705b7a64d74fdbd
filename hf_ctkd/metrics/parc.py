"""PARC: whether rows that differ in the teacher's features also differ in their labels."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from scipy.stats import rankdata
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.metrics.base import TransferabilityMetric, principal_components
from hf_ctkd.types import ModelOutputs, Needs

_MOST_ROWS = 2000
"""Of more rows an even part of every class is taken: pairs grow with the square."""


@dataclass(frozen=True)
class PARC(TransferabilityMetric):
    """Spearman correlation, in percent, between pairwise distances of features and of one-hot labels.

    Use it for a few hundred rows and teachers of very different widths, which the reduction to few components makes
    comparable. Distances are one less Pearson's correlation between two rows, over the components: fewer than three
    tell it nothing, and the direction in which each component points, which is a convention, has some say.

    Args:
        components: principal components kept, at least 3.

    Raises:
        InvalidArgumentError: if `components` is too small.

    Reference:
        After Bolya, Mittapalli and Hoffman, "Scalable diverse model selection for accessible transfer learning",
        NeurIPS 2021, arXiv:2111.06977.

    Example:
        >>> import torch
        >>> from hf_ctkd.types import ModelOutputs
        >>> labels = torch.arange(3).repeat(20)
        >>> noise = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
        >>> apart = noise + 5 * torch.eye(3, 5)[labels]
        >>> PARC().score(ModelOutputs(apart), labels) > 50 > PARC().score(ModelOutputs(noise), labels)
        True
    """

    components: int = 32

    name: ClassVar[str] = "parc"
    citation: ClassVar[str] = r"""@inproceedings{bolya2021scalable,
  title = {Scalable diverse model selection for accessible transfer learning},
  author = {Bolya, Daniel and Mittapalli, Rohit and Hoffman, Judy},
  booktitle = {NeurIPS},
  year = {2021},
  eprint = {2111.06977},
  archivePrefix = {arXiv}
}"""
    needs: ClassVar[Needs] = Needs.FEATURES

    def __post_init__(self) -> None:
        if self.components < 3:
            raise InvalidArgumentError(f"`components` must be at least 3, got {self.components}.")

    def of_rows(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> float:
        """See `TransferabilityMetric.of_rows`."""
        points = principal_components(outputs.features, most=self.components)
        if len(labels) > _MOST_ROWS:
            # Rows stand class by class here, so that even steps are stratified.
            chosen = torch.linspace(0, len(labels) - 1, _MOST_ROWS).round().long()
            points, labels = points[chosen], labels[chosen]
        one_hot = torch.nn.functional.one_hot(labels).double()
        first, second = torch.triu_indices(len(labels), len(labels), offset=1)
        ranks = [torch.from_numpy(rankdata(_distances(rows)[first, second].numpy())) for rows in (points, one_hot)]
        # Spearman's rho is Pearson's correlation of the ranks.
        return 100 * float(_unit(torch.stack(ranks)).prod(dim=0).sum())


def _distances(rows: Float[Tensor, "rows width"]) -> Float[Tensor, "rows rows"]:
    unit = _unit(rows)
    # Rounded, as labels' distances are equal by the thousand and must tie.
    return (1 - unit @ unit.T).round(decimals=12)


def _unit(rows: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
    """Rows centred and of unit length; zero where all entries are equal."""
    return torch.nn.functional.normalize(rows - rows.mean(dim=1, keepdim=True), dim=1)
