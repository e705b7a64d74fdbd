"""The loss of selective cross-task distillation: transport between the teacher's label space and the target's."""

import math
from dataclasses import replace
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hf_ctkd.costs import EmpiricalCost, LabelCost, relatedness
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses.base import DistillationLoss, require_logits, require_teachers, student_logits, teacher_logits
from hf_ctkd.ot import OTProblem, Sinkhorn
from hf_ctkd.probes import estimate_prior
from hf_ctkd.probes.labelled import CHUNK_ROWS, check_all_rows, fitting_rows
from hf_ctkd.types import LossContext, ModelOutputs, Needs

_LEAST_FOR_FIXED_STEPS = 0.05
"""Below it a few problems of a batch creep, or leave the range of float32, which only a look at their error shows."""


class LabelTransportLoss(DistillationLoss):
    """Sinkhorn value of moving each teacher prediction onto the student's, between the two label spaces.

    Use it where teacher and target classes correspond closely, or to reproduce the paper. Not elsewhere: its optimum is
    a soft map of labels (see `LabelMapLoss`), which is blurred where classes do not correspond. Each teacher's term is
    weighted by `relatedness ** gain_exponent`, estimated on held-out rows, so that an unrelated teacher does little
    harm. Prefer `RowTransportLoss` for teachers of other tasks.

    Args:
        cost: label cost: how far each teacher class is from each target class.
        epsilon: strength of the entropic regularisation, relative to the largest cost, positive. On an accelerator a
            step waits for nothing from 0.05 on; below, the solver looks at its error.
        temperature: of the teachers' and the student's predictions, positive.
        gain_exponent: exponent of the relatedness in the weight of each teacher, 0 or more; 0 is the unweighted loss of
            the paper, which can cost many points.

    Raises:
        InvalidArgumentError: an argument is out of its range.

    Reference:
        Reconstructed from Lu, Ye and Zhan, "Selective cross-task distillation", arXiv:2204.11526. The weighting by
        relatedness is ours.

    Example:
        >>> from hf_ctkd import DistillationConfig, DistillationTrainer, EmpiricalCost, LabelTransportLoss
        >>> loss = LabelTransportLoss(EmpiricalCost(), epsilon=0.05)
        >>> trainer = DistillationTrainer(  # doctest: +SKIP
        ...     model=student,
        ...     args=DistillationConfig("flowers-student", num_train_epochs=20),
        ...     processing_class=image_processor,
        ...     teachers=["microsoft/resnet-50"],
        ...     loss=loss,
        ...     train_dataset=flowers["train"],
        ... )
        >>> trainer.train()  # doctest: +SKIP
    """

    name: ClassVar[str] = "label_transport"
    weight_meaning = "the factor of the teacher's term in the distillation loss"
    transport_meaning = (
        "Each cell is the share of the training rows that the loss transports from a class of the first teacher, by "
        "its mean prediction, to a class of this task, by the shares of the labels."
    )
    teaches_labels = True
    citation = """@misc{lu2022selective,
  title = {Selective Cross-Task Distillation},
  author = {Lu, Su and Ye, Han-Jia and Zhan, De-Chuan},
  year = {2022},
  eprint = {2204.11526},
  archivePrefix = {arXiv},
  note = {Reconstructed; the weighting by relatedness is an addition of hf_ctkd}
}
"""

    def __init__(
        self,
        cost: LabelCost = EmpiricalCost(),  # noqa: B008 (frozen)
        *,
        epsilon: float = 0.1,
        temperature: float = 1.0,
        gain_exponent: float = 2.0,
    ) -> None:
        super().__init__()
        check_label_arguments(epsilon, temperature, gain_exponent)
        self.cost, self.epsilon, self.temperature, self.gain_exponent = cost, epsilon, temperature, gain_exponent
        self.needs = Needs.TEACHER | Needs.FIT | Needs.LOGITS | cost.needs
        self.costs = TeacherLabelCosts(cost, gain_exponent)
        # A training step needs a descent direction, not the last digit: a value that has not converged is used as is.
        self.solver = Sinkhorn(epsilon, max_steps=200, tolerance=1e-3, on_failure="report")

    def setup(self, context: LossContext) -> None:
        """Compute label costs and relatedness on the labelled rows; see `DistillationLoss.setup`.

        Raises:
            InvalidArgumentError: there is no teacher, or one has no head.
        """
        self.costs.fit(context, type(self).__name__)

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The term `label_transport`; see `DistillationLoss.forward`."""
        with torch.autocast(student.features.device.type, enabled=False):
            predicted = (student_logits(student).float() / self.temperature).softmax(dim=1)
            # Stays in the graph at weight zero, so that distributed training finds a gradient for every parameter.
            total = 0.0 * predicted.sum()
            for index, (factor, outputs) in enumerate(zip(self.costs.factors(), teachers, strict=True)):
                if self.costs.used[index]:
                    teacher_predicted = (teacher_logits(outputs).float() / self.temperature).softmax(dim=1)
                    # The costs were checked in `setup`, and a softmax is a marginal: nothing to look at in a step.
                    problem = OTProblem(self.costs.matrix(index), teacher_predicted, predicted, check=False)
                    total = total + factor * self._solver(predicted.device).solve(problem).value.mean()
            return {self.name: total}

    def _solver(self, device: torch.device) -> Sinkhorn:
        """The solver; on an accelerator with as many steps for all, so that the host does not wait for an error."""
        if device.type == "cpu" or self.epsilon < _LEAST_FOR_FIXED_STEPS:
            return self.solver
        # Twice what problems of 10 to 1,000 classes needed, which grows with one over epsilon.
        steps = math.ceil(3 / self.epsilon)
        return replace(self.solver, max_steps=steps, check_every=steps)

    def strength(self) -> float:
        """Sum of the factors of all teachers, in [0, 1]."""
        return float(self.costs.factors().sum())

    def weights(self) -> tuple[float, ...]:
        """Factor of each teacher's term, in [0, 1]."""
        return tuple(self.costs.factors().tolist())

    def transport_map(self, context: LossContext) -> Float[Tensor, "teacher_classes target_classes"] | None:
        """The plan from the first teacher's mean prediction onto the class shares of the labels, at its label cost."""
        if not self.costs.used[0]:
            return None
        chunks = (outputs for _, outputs in context.teachers[0].chunks(CHUNK_ROWS))
        sums = [(teacher_logits(outputs).double() / self.temperature).softmax(dim=1).sum(dim=0) for outputs in chunks]
        prediction = torch.stack(sums).sum(dim=0, keepdim=True) / len(context.teachers[0])
        shares = estimate_prior(context.labels, len(context.label_space)).double()[None]
        problem = OTProblem(self.costs.matrix(0).double().cpu(), prediction, shares / shares.sum())
        return self.solver.solve(problem).plan()[0]


class TeacherLabelCosts(nn.Module):
    """The label cost of every teacher and its relatedness on held-out rows, as buffers.

    Args:
        cost: computes the matrices.
        gain_exponent: exponent of the relatedness in the factors; 0 gives all teachers the same factor.
    """

    relatedness: Tensor

    def __init__(self, cost: LabelCost, gain_exponent: float) -> None:
        super().__init__()
        self.cost, self.gain_exponent = cost, gain_exponent
        self.register_buffer("relatedness", torch.zeros(0))
        self.used: tuple[bool, ...] = ()
        """Which teachers have a factor above 0; known on the host, so that no step waits for the device."""

    def fit(self, context: LossContext, loss: str) -> None:
        """Compute costs and relatedness from the teachers' outputs over the labelled rows.

        Args:
            context: as given to `DistillationLoss.setup`.
            loss: name of the loss class, for messages.

        Raises:
            InvalidArgumentError: there is no teacher, or one has no head.
        """
        require_teachers(context, loss)
        require_logits(context, loss)
        check_all_rows(context.teachers, context.labels)
        rows = fitting_rows(context.labels, context.seed)
        labels = context.labels[rows]
        values = []
        for index, (teacher, space) in enumerate(zip(context.teachers, context.teacher_label_spaces, strict=True)):
            outputs = teacher.select(rows)
            matrix = self.cost.matrix(outputs, labels, target=context.label_space, teacher=space)
            uniform = (torch.full((1, size), 1 / size) for size in matrix.shape)
            OTProblem(matrix.float(), *uniform)  # refuses a cost that no step could use
            self.register_buffer(f"cost_{index}", matrix.float())
            probabilities = teacher_logits(outputs).float().softmax(dim=1)
            values.append(relatedness(probabilities, labels, len(context.label_space)))
        self.relatedness = torch.tensor(values)
        self.used = tuple(value > 0 or self.gain_exponent == 0 for value in values)

    def factors(self) -> Float[Tensor, " teachers"]:
        """The factor of each teacher's term: `relatedness ** gain_exponent`, times its share of the sum of these.

        So a poor teacher beside a good one takes almost nothing away from it, and a single teacher has its full weight.
        """
        weights = self.relatedness**self.gain_exponent
        shares = weights.clamp_min(1e-12) / weights.clamp_min(1e-12).sum()
        return weights * shares

    def matrix(self, teacher: int) -> Float[Tensor, "teacher_classes target_classes"]:
        """The label cost of one teacher."""
        return self.get_buffer(f"cost_{teacher}")


def check_label_arguments(epsilon: float, temperature: float, gain_exponent: float) -> None:
    """Refuse arguments out of their range; for their meaning see `LabelTransportLoss`.

    Raises:
        InvalidArgumentError: naming the argument.
    """
    for name, value in (("epsilon", epsilon), ("temperature", temperature)):
        if not 0 < value < math.inf:
            raise InvalidArgumentError(f"`{name}` must be positive and finite, got {value}.")
    if not gain_exponent >= 0:
        raise InvalidArgumentError(f"`gain_exponent` must not be negative, got {gain_exponent}.")
