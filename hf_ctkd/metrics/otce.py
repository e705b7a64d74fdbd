"""OTCE: domain difference and task difference under a coupling of source rows with target rows."""

from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar

from jaxtyping import Int
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.metrics.base import TransferabilityMetric
from hf_ctkd.metrics.fotce import SourceCoupling
from hf_ctkd.ot import CloudSinkhorn
from hf_ctkd.types import ModelOutputs, Needs


@dataclass(frozen=True, eq=False)
class OTCE(TransferabilityMetric):
    """Minus a weighted sum of the transport cost between source and target rows and of F-OTCE's conditional entropy.

    The paper fits the weights to measured transfers on other tasks. Use it where you have such measurements; where
    you have none take `FOTCE`, whose order does not depend on them.

    Args:
        source: outputs of the same teacher over rows of its own task.
        source_labels: labels of these rows; rows with -100 are ignored.
        solver: of the transport.
        domain_weight: of the mean squared distance that the plan moves rows by, relative to the mean squared length of
            the centred target features; not negative.
        task_weight: of the conditional entropy in nats, not negative.

    Raises:
        InvalidArgumentError: as in `FOTCE`, or a weight is negative.
        DatasetError: if no source row is labelled.
        NotConvergedError: if the transport missed its tolerance.

    Reference:
        After Tan, Li and Huang, "OTCE", CVPR 2021, arXiv:2103.13843; the scale of the distance is ours.

    Example:
        >>> import torch
        >>> from hf_ctkd.types import ModelOutputs
        >>> labels = torch.arange(2).repeat(10)
        >>> near, far = ModelOutputs(torch.eye(2)[labels]), ModelOutputs(torch.eye(2)[labels] + 3)
        >>> metric = OTCE(near, labels, domain_weight=0.1, task_weight=1.0)
        >>> metric.score(near, labels) > metric.score(far, labels)
        True
    """

    source: ModelOutputs
    source_labels: Int[Tensor, " source_rows"]
    _: KW_ONLY
    solver: CloudSinkhorn = field(default_factory=CloudSinkhorn)
    domain_weight: float
    task_weight: float

    name: ClassVar[str] = "otce"
    citation: ClassVar[str] = r"""@inproceedings{tan2021otce,
  title = {{OTCE}: a transferability metric for cross-domain cross-task representations},
  author = {Tan, Yang and Li, Yang and Huang, Shao-Lun},
  booktitle = {CVPR},
  year = {2021},
  eprint = {2103.13843},
  archivePrefix = {arXiv}
}"""
    needs: ClassVar[Needs] = Needs.FEATURES

    def __post_init__(self) -> None:
        self._coupling()
        for name, weight in (("domain_weight", self.domain_weight), ("task_weight", self.task_weight)):
            if not weight >= 0:
                raise InvalidArgumentError(f"`{name}` must not be negative, got {weight}.")

    def of_rows(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> float:
        """See `TransferabilityMetric.of_rows`."""
        # OTCE = w_1 * domain difference <plan, cost> + w_2 * task difference H(Y_t | Y_s) + constant, here negated.
        coupling = self._coupling()
        solution = coupling.solve(outputs)
        centred = outputs.features - outputs.features.mean(dim=0)
        scale = float(centred.square().sum(dim=1).mean())
        moved = float(solution.cost) / max(scale, 1e-300)
        return -self.domain_weight * moved - self.task_weight * coupling.conditional_entropy(solution, labels)

    def _coupling(self) -> SourceCoupling:
        return SourceCoupling(self.source, self.source_labels, self.solver)
