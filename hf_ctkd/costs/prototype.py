"""The cost between class centres in the teacher's own feature space."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.costs.base import SELECTIVE_CROSS_TASK_DISTILLATION, LabelCost, cosine_cost
from hf_ctkd.probes.labelled import labelled_rows, logits_of
from hf_ctkd.types import LabelSpace, ModelOutputs, Needs


@dataclass(frozen=True)
class PrototypeCost(LabelCost):
    """Angle between the centre of a target class and that of a teacher class among the teacher's features.

    A target class's centre is the mean feature of its labelled rows; a teacher class's is the mean over the same rows
    weighted by the teacher's probability of that class. Features are centred first, as after a ReLU all raw ones
    point the same way. Use it when the teacher is sure of itself but wrong in names; it needs none. A class without
    rows costs 1/2 everywhere.

    Reference:
        Reconstructed from Lu, Ye and Zhan, "Selective cross-task distillation", arXiv:2204.11526; `(1 - cos) / 2`.

    Example:
        >>> import torch
        >>> from hf_ctkd.types import LabelSpace, ModelOutputs
        >>> rows = torch.eye(2)[[0, 0, 1, 1]]
        >>> outputs = ModelOutputs(features=rows, logits=20 * rows)
        >>> PrototypeCost().matrix(outputs, torch.tensor([0, 0, 1, 1]), target=LabelSpace(("cat", "dog"))).round()
        tensor([[0., 1.],
                [1., 0.]])
    """

    name: ClassVar[str] = "prototype"
    citation: ClassVar[str] = SELECTIVE_CROSS_TASK_DISTILLATION
    needs: ClassVar[Needs] = Needs.LOGITS | Needs.FEATURES

    def matrix(
        self,
        outputs: ModelOutputs,
        labels: Int[Tensor, " rows"],
        *,
        target: LabelSpace,
        teacher: LabelSpace | None = None,
    ) -> Float[Tensor, "teacher_classes target_classes"]:
        """See `LabelCost.matrix`; raises InvalidArgumentError for a teacher without logits."""
        outputs, labels = labelled_rows(outputs, labels, needs=self.needs, n_classes=len(target))
        features = outputs.features.double()
        features = features - features.mean(dim=0)
        one_hot = torch.nn.functional.one_hot(labels, len(target)).double()
        teacher_side = weighted_centres(features, logits_of(outputs).double().softmax(dim=1))
        return cosine_cost(teacher_side, weighted_centres(features, one_hot)).float()


def weighted_centres(
    features: Float[Tensor, "rows width"], weights: Float[Tensor, "rows classes"]
) -> Float[Tensor, "classes width"]:
    """Weighted mean feature of every class, zero for a class without weight.

    Args:
        features: one vector a row.
        weights: share of every row in every class, not negative.
    """
    mass = weights.sum(dim=0)
    seen = mass > 1e-6
    centres = (weights.T @ features) / torch.where(seen, mass, torch.ones_like(mass))[:, None]
    return centres * seen[:, None]
