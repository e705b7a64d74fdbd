"""The score of selective cross-task distillation: how cheaply the teacher's predictions turn into the labels."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.costs.base import LabelCost
from hf_ctkd.costs.empirical import EmpiricalCost
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.metrics.base import MeanOverRows, content
from hf_ctkd.ot import OTProblem, Sinkhorn
from hf_ctkd.ot.precision import full_products
from hf_ctkd.probes.folds import deal_folds
from hf_ctkd.probes.labelled import labelled_rows, logits_of
from hf_ctkd.types import UNLABELLED, LabelSpace, ModelOutputs, Needs


@dataclass(frozen=True)
class TransportScore(MeanOverRows):
    """Minus the mean cost of transporting the teacher's prediction onto the label, by a cost fitted on other rows.

    Use it for teachers with a head, where distillation will go through the same label-space cost. Against labels only
    one plan exists, so no transport is solved. A cost fitted on the rows that it judges flatters teachers with many
    classes; here each fold is judged by the cost of the others.

    Args:
        cost: the label-space cost.
        folds: at least 2.
        target: the target's classes by label id, where the cost reads their names.
        teacher: the teacher's classes, where the cost reads their names.

    Raises:
        InvalidArgumentError: if `folds` is too small, or the cost reads names and none are given.

    Reference:
        Reconstructed from Lu, Ye and Zhan, "Selective cross-task distillation", arXiv:2204.11526; cross-fitting is
        ours.

    Example:
        >>> import torch
        >>> from hf_ctkd.types import ModelOutputs
        >>> labels = torch.arange(2).repeat(50)
        >>> outputs = ModelOutputs(features=torch.eye(2)[labels], logits=20 * torch.eye(2)[labels])
        >>> TransportScore().score(outputs, labels) > -0.05
        True
    """

    cost: LabelCost = field(default_factory=EmpiricalCost)
    folds: int = 5
    target: LabelSpace | None = None
    teacher: LabelSpace | None = None

    citation: ClassVar[str] = r"""@misc{lu2022selective,
  title = {Selective cross-task distillation},
  author = {Lu, Su and Ye, Han-Jia and Zhan, De-Chuan},
  year = {2022},
  eprint = {2204.11526},
  archivePrefix = {arXiv}
}"""
    needs: ClassVar[Needs] = Needs.LOGITS

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise InvalidArgumentError(f"`folds` must be at least 2, got {self.folds}.")
        if Needs.LABEL_NAMES in self.cost.needs and (self.target is None or self.teacher is None):
            raise InvalidArgumentError(
                f"The {self.cost.name} cost reads label names, so `target` and `teacher` are needed. Give both, or "
                "choose another cost."
            )

    @property
    def name(self) -> str:
        """Short name, with the cost's."""
        return f"transport_{self.cost.name}"

    def score(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> float:
        """See `TransferabilityMetric.score`."""
        if self.target is None:
            return super().score(outputs, labels)
        # Names belong to label ids, which must therefore stay as they are.
        with torch.no_grad(), torch.autocast("cpu", enabled=False), full_products():
            outputs, labels = labelled_rows(outputs, labels, needs=self.needs, n_classes=len(self.target))
            return self.of_rows(outputs, labels)

    def row_values(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """See `MeanOverRows.row_values`."""
        if self.target is None:
            return super().row_values(outputs, labels)
        with torch.no_grad(), torch.autocast("cpu", enabled=False), full_products():
            labelled, classes = labelled_rows(outputs, labels, needs=self.needs, n_classes=len(self.target))
            values = self.values_of_rows(labelled, classes)
        judged = (labels.cpu() != UNLABELLED).nonzero().squeeze(1)
        return torch.full((len(labels),), torch.nan, dtype=torch.float64).index_copy(0, judged, values)

    def values_of_rows(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """See `MeanOverRows.values_of_rows`; the one-hot identity of optimal transport."""
        # A one-hot target leaves one plan: the cost is sum_u p_i(u) C[u, y_i].
        probabilities = logits_of(outputs).double().softmax(dim=1)
        values = torch.empty(len(labels), dtype=torch.float64)
        for inside, matrix in self._matrices(outputs, labels, torch.arange(len(labels))):
            values[inside] = -(probabilities[inside] * matrix.double().T[labels[inside]]).sum(dim=1)
        return values

    def score_student(
        self,
        outputs: ModelOutputs,
        labels: Int[Tensor, " rows"],
        *,
        student: Float[Tensor, "student_rows classes"],
        solver: Sinkhorn | None = None,
    ) -> float:
        """Minus the mean transport cost from the teacher's predictions to a student's instead of to the labels.

        Args:
            outputs: the teacher's outputs over target rows.
            labels: target labels; they fit the cost, and rows with -100 are judged by the cost of all labelled rows.
            student: the student's probabilities of the target classes, each row summing to one.
            solver: of the transport; `Sinkhorn(epsilon=0.1)` by default.

        Raises:
            InvalidArgumentError: if the number of rows differs, or outputs cannot be used.
        """
        if len(student) != len(labels):
            raise InvalidArgumentError(f"`student` must have one row a label, got {len(student)} for {len(labels)}.")
        target = self.target or _numbered(student.shape[1])
        labelled, chosen = labelled_rows(outputs, labels, needs=self.needs, n_classes=len(target))
        everywhere = torch.arange(len(labels))[labels.cpu() < 0]
        solver = solver or Sinkhorn(epsilon=0.1, tolerance=1e-4)
        logits = logits_of(outputs).cpu()
        total = 0.0
        fits = self._matrices(labelled, chosen, torch.arange(len(labels))[labels.cpu() >= 0], target)
        if len(everywhere):
            fits.append((everywhere, self.cost.matrix(labelled, chosen, target=target, teacher=self.teacher)))
        for inside, matrix in fits:
            teacher_side = logits[inside].double().softmax(dim=1)
            problem = OTProblem(matrix.double(), teacher_side, student[inside].detach().cpu().double())
            total += float(solver.solve(problem).cost.sum())
        return -total / len(labels)

    def _matrices(
        self,
        outputs: ModelOutputs,
        labels: Int[Tensor, " labelled"],
        rows: Int[Tensor, " labelled"],
        target: LabelSpace | None = None,
    ) -> list[tuple[Int[Tensor, " inside"], Float[Tensor, "teacher_classes target_classes"]]]:
        """For each fold: the numbers of its rows, and the cost fitted on the others."""
        target = target or self.target or _numbered(int(labels.max()) + 1)
        fold = deal_folds(content(outputs), labels, self.folds)
        fits = []
        for number in range(int(fold.max()) + 1):
            others = outputs.select(fold != number)
            matrix = self.cost.matrix(others, labels[fold != number], target=target, teacher=self.teacher)
            fits.append((rows[fold == number], matrix))
        return fits


def _numbered(classes: int) -> LabelSpace:
    return LabelSpace(tuple(f"class_{index}" for index in range(classes)))
