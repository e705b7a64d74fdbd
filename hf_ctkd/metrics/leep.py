"""LEEP: log expected empirical prediction."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.metrics.base import MeanOverRows, log_likelihoods_of_map
from hf_ctkd.probes.labelled import logits_of
from hf_ctkd.types import ModelOutputs, Needs


@dataclass(frozen=True)
class LEEP(MeanOverRows):
    """Mean log-likelihood of the labels under the map from the teacher's predicted classes to target classes.

    Use it for teachers with a head; it is fast and needs no features. It is fitted and judged on the same rows, so
    with few rows and many teacher classes it flatters; `InformationGain` does not.

    Reference:
        After Nguyen, Hassner, Seeger and Archambeau, "LEEP", arXiv:2002.12462.

    Example:
        >>> import torch
        >>> from hf_ctkd.types import ModelOutputs
        >>> outputs = ModelOutputs(features=torch.zeros(4, 1), logits=torch.zeros(4, 3))
        >>> round(LEEP().score(outputs, torch.tensor([0, 0, 1, 1])), 4)
        -0.6931
    """

    name: ClassVar[str] = "leep"
    citation: ClassVar[str] = r"""@inproceedings{nguyen2020leep,
  title = {{LEEP}: a new measure to evaluate transferability of learned representations},
  author = {Nguyen, Cuong V. and Hassner, Tal and Seeger, Matthias and Archambeau, Cedric},
  booktitle = {ICML},
  year = {2020},
  eprint = {2002.12462},
  archivePrefix = {arXiv}
}"""
    needs: ClassVar[Needs] = Needs.LOGITS

    def values_of_rows(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """See `MeanOverRows.values_of_rows`."""
        # (1 / n) sum_i log sum_z P(y_i | z) theta(x_i)_z, with P(y | z) from the same rows.
        return log_likelihoods_of_map(logits_of(outputs).softmax(dim=1), labels)
