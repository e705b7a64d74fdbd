"""The cost between class centres of both label spaces under one frozen reference encoder."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.costs.base import SELECTIVE_CROSS_TASK_DISTILLATION, LabelCost, cosine_cost
from hf_ctkd.costs.prototype import weighted_centres
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.probes.labelled import labelled_rows
from hf_ctkd.types import LabelSpace, ModelOutputs, Needs


@dataclass(frozen=True, eq=False)
class Specification:
    """What a teacher's publisher leaves with it: where its classes lie under a reference encoder.

    Args:
        encoder: the reference encoder, with its revision.
        centres: `[teacher_classes, width]`, mean feature of every class's rows.
    """

    encoder: str
    centres: Float[Tensor, "teacher_classes width"]

    @classmethod
    def of(
        cls, encoder: str, outputs: ModelOutputs, *, labels: Int[Tensor, " rows"], n_classes: int
    ) -> "Specification":
        """From the reference encoder's outputs over the rows that the teacher was trained on.

        Args:
            encoder: the reference encoder, with its revision.
            outputs: the encoder's, not the teacher's, outputs.
            labels: the teacher's own labels of these rows.
            n_classes: number of the teacher's classes; each needs a row.

        Raises:
            InvalidArgumentError: if a class has no row.
        """
        return cls(encoder, _centres(outputs, labels, n_classes, "labels").float())


@dataclass(frozen=True, eq=False)
class SharedCost(LabelCost):
    """Angle between the centres of teacher and target classes under one reference encoder.

    Use it to compare many teachers with one target without running any of them: only the reference encoder runs, over
    the target's rows, once. Its outputs are what `matrix` is to be given.

    Args:
        specification: of the teacher, made with the same reference encoder.

    Reference:
        Reconstructed from Lu, Ye and Zhan, "Selective cross-task distillation", arXiv:2204.11526; `(1 - cos) / 2`,
        after moving the origin to the middle of both sides' centres.

    Example:
        >>> import torch
        >>> from hf_ctkd.types import LabelSpace, ModelOutputs
        >>> encoded = ModelOutputs(features=torch.eye(2)[[0, 0, 1, 1]])
        >>> specification = Specification("org/encoder@1a2b", torch.eye(2)[[1, 0]])
        >>> pets = LabelSpace(("cat", "dog"))
        >>> SharedCost(specification).matrix(encoded, torch.tensor([0, 0, 1, 1]), target=pets).round()
        tensor([[1., 0.],
                [0., 1.]])
    """

    specification: Specification

    name: ClassVar[str] = "shared"
    citation: ClassVar[str] = SELECTIVE_CROSS_TASK_DISTILLATION
    needs: ClassVar[Needs] = Needs.FEATURES

    def matrix(
        self,
        outputs: ModelOutputs,
        labels: Int[Tensor, " rows"],
        *,
        target: LabelSpace,
        teacher: LabelSpace | None = None,
    ) -> Float[Tensor, "teacher_classes target_classes"]:
        """See `LabelCost.matrix`; `outputs` are the reference encoder's."""
        target_side = _centres(outputs, labels, len(target), "labels")
        teacher_side = self.specification.centres.cpu().double()
        if target_side.shape[1] != teacher_side.shape[1]:
            raise InvalidArgumentError(
                f"`outputs` has {target_side.shape[1]} features, but the specification has {teacher_side.shape[1]}. "
                f"Encode the rows with {self.specification.encoder!r}."
            )
        middle = (target_side.mean(dim=0) + teacher_side.mean(dim=0)) / 2
        return cosine_cost(teacher_side - middle, target_side - middle).float()


def _centres(
    outputs: ModelOutputs, labels: Int[Tensor, " rows"], n_classes: int, argument: str
) -> Float[Tensor, "classes width"]:
    outputs, labels = labelled_rows(outputs, labels, n_classes=n_classes)
    one_hot = torch.nn.functional.one_hot(labels, n_classes).double()
    if not bool(one_hot.any(dim=0).all()):
        missing = int((~one_hot.any(dim=0)).nonzero()[0])
        raise InvalidArgumentError(f"`{argument}` must show every class, but class {missing} has no row. Label one.")
    return weighted_centres(outputs.features.double(), one_hot)
