"""Accuracy of the nearest neighbour, each row left out in turn with its copies."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.metrics.base import MeanOverRows
from hf_ctkd.probes.folds import row_groups
from hf_ctkd.types import ModelOutputs, Needs

_BLOCK = 1024


@dataclass(frozen=True)
class NearestNeighbour(MeanOverRows):
    """Share of rows whose nearest other row, by cosine of centred features, has the same label.

    Use it as a robust second opinion: it fits nothing. With few rows it moves in coarse steps. Copies of a row are no
    other rows, unless its class has no others.

    Reference:
        After Cover and Hart, "Nearest neighbor pattern classification", 1967; on teachers' features as in Renggli et
        al., arXiv:2010.06402.

    Example:
        >>> import torch
        >>> from hf_ctkd.types import ModelOutputs
        >>> labels = torch.arange(3).repeat(5)
        >>> NearestNeighbour().score(ModelOutputs(features=torch.eye(3)[labels]), labels)
        1.0
    """

    name: ClassVar[str] = "nearest_neighbour"
    citation: ClassVar[str] = r"""@misc{renggli2020which,
  title = {Which model to transfer? Finding the needle in the growing haystack},
  author = {Renggli, Cedric and Pinto, Andr{\'e} Susano and Rimanic, Luka and Puigcerver, Joan and Riquelme, Carlos
    and Zhang, Ce and Lu{\v{c}}i{\'c}, Mario},
  year = {2020},
  eprint = {2010.06402},
  archivePrefix = {arXiv}
}"""
    needs: ClassVar[Needs] = Needs.FEATURES

    def values_of_rows(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """See `MeanOverRows.values_of_rows`."""
        features = outputs.features - outputs.features.mean(dim=0)
        unit = torch.nn.functional.normalize(features, dim=1)
        groups = row_groups(outputs.features, labels)
        hits = torch.empty(len(labels), dtype=torch.float64)
        for start in range(0, len(unit), _BLOCK):
            block = torch.arange(start, min(start + _BLOCK, len(unit)))
            similarity = unit[block] @ unit.T
            similarity[groups[block, None] == groups] = -torch.inf
            hits[block] = (labels[similarity.argmax(dim=1)] == labels[block]).double()
        return hits
