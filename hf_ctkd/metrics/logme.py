"""LogME: log maximum evidence of a linear model from features to labels."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Int
from torch import Tensor

from hf_ctkd.metrics.base import TransferabilityMetric
from hf_ctkd.probes.bayesian import BayesianRegression
from hf_ctkd.types import ModelOutputs, Needs


@dataclass(frozen=True)
class LogME(TransferabilityMetric):
    """Highest log evidence, a row and a class, of Bayesian linear regression from features onto one-hot labels.

    Use it for teachers without a head and with many rows. The evidence punishes complexity by itself, so no rows are
    held out.

    Reference:
        After You, Liu, Wang and Long, "LogME", arXiv:2102.11005.

    Example:
        >>> import torch
        >>> from hf_ctkd.types import ModelOutputs
        >>> labels = torch.arange(2).repeat(20)
        >>> noise = ModelOutputs(torch.randn(40, 3, generator=torch.Generator().manual_seed(0)))
        >>> apart = ModelOutputs(noise.features + 3 * labels[:, None])
        >>> LogME().score(apart, labels) > LogME().score(noise, labels)
        True
    """

    name: ClassVar[str] = "logme"
    citation: ClassVar[str] = r"""@inproceedings{you2021logme,
  title = {{LogME}: practical assessment of pre-trained models for transfer learning},
  author = {You, Kaichao and Liu, Yong and Wang, Jianmin and Long, Mingsheng},
  booktitle = {ICML},
  year = {2021},
  eprint = {2102.11005},
  archivePrefix = {arXiv}
}"""
    needs: ClassVar[Needs] = Needs.FEATURES

    def of_rows(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> float:
        """See `TransferabilityMetric.of_rows`."""
        n_classes = int(labels.max()) + 1
        return BayesianRegression.fit(outputs.features, labels, n_classes).log_evidence
