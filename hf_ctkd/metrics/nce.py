"""NCE: negative conditional entropy."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Int
from torch import Tensor

from hf_ctkd.metrics.base import TransferabilityMetric
from hf_ctkd.probes.labelled import logits_of
from hf_ctkd.types import ModelOutputs, Needs


@dataclass(frozen=True)
class NCE(TransferabilityMetric):
    """Minus the entropy of the target label given the class that the teacher predicts.

    Use it for teachers with a head whose probabilities are badly calibrated: it reads the predicted class alone. Like
    LEEP it flatters with few rows and many teacher classes.

    Reference:
        After Tran, Nguyen and Hassner, "Transferability and hardness of supervised classification tasks",
        arXiv:1908.08142.

    Example:
        >>> import torch
        >>> from hf_ctkd.types import ModelOutputs
        >>> outputs = ModelOutputs(features=torch.zeros(4, 1), logits=torch.eye(2)[[0, 0, 1, 1]])
        >>> NCE().score(outputs, torch.tensor([0, 0, 1, 1]))
        0.0
    """

    name: ClassVar[str] = "nce"
    citation: ClassVar[str] = r"""@inproceedings{tran2019transferability,
  title = {Transferability and hardness of supervised classification tasks},
  author = {Tran, Anh T. and Nguyen, Cuong V. and Hassner, Tal},
  booktitle = {ICCV},
  year = {2019},
  eprint = {1908.08142},
  archivePrefix = {arXiv}
}"""
    needs: ClassVar[Needs] = Needs.LOGITS

    def of_rows(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> float:
        """See `TransferabilityMetric.of_rows`."""
        logits = logits_of(outputs)
        predicted = torch.nn.functional.one_hot(logits.argmax(dim=1), logits.shape[1]).double()
        # - H(Y | Z) = sum_yz P(y, z) log P(y, z) - sum_z P(z) log P(z), z the predicted class.
        together = torch.nn.functional.one_hot(labels).double().T @ predicted / len(labels)
        teacher = together.sum(dim=0)
        entropy = torch.special.xlogy(teacher, teacher).sum() - torch.special.xlogy(together, together).sum()
        return -float(entropy.clamp_min(0)) + 0.0
