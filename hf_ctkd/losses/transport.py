"""Cross-task distillation by optimal transport: between label spaces, or of rows onto classes."""

from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Int
from torch import Tensor, nn

from hf_ctkd.costs import LabelCost
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses.base import DistillationLoss, student_logits
from hf_ctkd.losses.label_costs import TeacherLabelCosts, teacher_logits
from hf_ctkd.losses.rows_onto_classes import RowsOntoClasses, check_ranges
from hf_ctkd.ot import OTProblem, Sinkhorn
from hf_ctkd.probes import LinearProbe
from hf_ctkd.probes.ensemble import ProbeEnsemble
from hf_ctkd.types import LossContext, ModelOutputs, Needs


class TransportLoss(DistillationLoss):
    """Optimal transport between what teachers and student say, weighted so that a poor teacher does no harm.

    With the default cost, `LinearProbe()`, all training rows are transported at once onto the target classes: the cost
    is minus the log posterior that cross-fitted probes read from the teachers' layers of all depths and from the
    student's own input features, every class receives its share of the rows (estimated from the labels, with shrinkage,
    and held only as firmly as their number allows), and each row of the plan is that row's soft target. The probes then
    learn once more, from the plan of all rows, and the rows are transported again. A teacher that knows less than the
    input features hardly counts, so it does no harm. The student's own prediction joins the target as far as the two
    agree and the probes are related, so that a student which comes to know better is not held back. Use it by default.

    With a label cost, such as `EmpiricalCost()`, every row's teacher prediction is transported onto the student's
    prediction between the two label spaces, as the paper has it: the loss is the Sinkhorn value. Use it where teacher
    and target classes correspond closely; it is a soft map of labels, blurred where they do not, so it is weighted by
    `relatedness ** power`, estimated on held-out rows.

    Args:
        cost: `LinearProbe` for rows onto classes, or a label cost for label space onto label space.
        epsilon: strength of the entropy. Rows onto classes: in nats, so that posteriors are sharpened by `1 / epsilon`;
            label spaces: relative to the largest cost.
        temperature: of the teachers' and the student's predictions under a label cost, positive.
        power: of the relatedness in the weight; 0 gives the literal loss, which can cost many points.
        relax: how firmly class shares are held, per labelled row; infinity takes the estimated shares for true.
        own: largest share of the student's own prediction in its target, in [0, 1); 0 distils the plan alone. With a
            `LinearProbe` only.
        input_features: read the student's own input too, as a member beside the teachers: its pixels, or its tokens
            weighted by how rare they are. Without teachers' help this is a strong baseline where labels are few. With a
            `LinearProbe` only.
        rounds: how often the probes learn once more from the plan of all rows. With a `LinearProbe` only.

    Raises:
        InvalidArgumentError: an argument out of its range.

    Reference:
        Label costs: reconstructed from Lu, Ye and Zhan, arXiv:2204.11526. LinearProbe, relatedness and relaxed class
        shares: ours.
    """

    name: ClassVar[str] = "transport"
    citation: ClassVar[str] = (
        "Lu, Ye, Zhan: Selective Cross-Task Distillation, arXiv:2204.11526 (reconstructed; probe ours)"
    )

    def __init__(
        self,
        cost: LabelCost | LinearProbe = LinearProbe(),  # noqa: B008 (frozen)
        *,
        epsilon: float | None = None,
        temperature: float = 1.0,
        power: float | None = None,
        relax: float = 4.0,
        own: float = 0.7,
        input_features: bool = True,
        rounds: int = 2,
    ) -> None:
        super().__init__()
        rows = isinstance(cost, LinearProbe)
        self.cost = cost
        self.epsilon = (0.25 if rows else 0.1) if epsilon is None else epsilon
        self.temperature = temperature
        self.power = (1.0 if rows else 2.0) if power is None else power
        self.relax = relax
        self.own = own
        self.input_features = input_features and rows
        self.rounds = rounds if rows else 0
        if not temperature > 0:
            raise InvalidArgumentError(f"`temperature` must be positive, got {temperature}.")
        check_ranges(self.epsilon, self.power, relax, own, rounds)
        self.term: RowsOntoClasses | _LabelsOntoLabels
        if isinstance(cost, LinearProbe):
            self.needs = Needs.TEACHER | Needs.FIT | Needs.FEATURES | Needs.LAYERS
            self.needs |= Needs.INPUT if input_features else Needs.NOTHING
            probes = ProbeEnsemble(cost, input_features=input_features)
            self.term = RowsOntoClasses(
                probes, epsilon=self.epsilon, power=self.power, relax=relax, own=own, rounds=rounds
            )
        else:
            self.needs = Needs.TEACHER | Needs.FIT | Needs.LOGITS | cost.needs
            self.term = _LabelsOntoLabels(cost, self.epsilon, self.power, temperature)

    def setup(self, context: LossContext) -> None:
        """Fit costs, relatedness and class shares on the training rows; see `DistillationLoss.setup`."""
        self.term.fit(context)

    def after_step(self, total: Callable[[Tensor], Tensor]) -> None:
        """How far student and targets agreed; see `DistillationLoss.after_step`."""
        self.term.after_step(total)

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The term `transport`; see `DistillationLoss.forward`."""
        with torch.autocast(student.features.device.type, enabled=False):
            return {self.name: self.term(student, teachers, labels)}

    def strength(self) -> float:
        """Cross-fitted gain of all that is read, or sum of the factors of the teachers' label costs."""
        return self.term.strength()

    def weights(self) -> tuple[float, ...]:
        """Relatedness of each teacher in [0, 1]: its cross-fitted gain."""
        return tuple(self.term.relatedness.tolist())

    def input_share(self) -> float:
        """How much of the targets is read out of the student's own input, in [0, 1]."""
        return self.term.input_share

    def diagnostics(self) -> dict[str, float]:
        """The share of the input, where it is read."""
        return {"input_share": self.term.input_share} if self.input_features else {}


class _LabelsOntoLabels(nn.Module):
    """Sinkhorn value from each teacher's prediction to the student's, over a cost between their label spaces."""

    input_share = 0.0

    def __init__(self, cost: LabelCost, epsilon: float, power: float, temperature: float) -> None:
        super().__init__()
        self.power, self.temperature = power, temperature
        # A training step needs a descent direction, not the last digit: what has not converged yet is used as it is.
        self.solver = Sinkhorn(epsilon, max_steps=200, tolerance=1e-3, on_failure="report")
        self.costs = TeacherLabelCosts(cost)

    @property
    def relatedness(self) -> Tensor:
        return self.costs.relatedness

    def fit(self, context: LossContext) -> None:
        self.costs.fit(context, "TransportLoss with a label cost")

    def strength(self) -> float:
        return float(self.costs.factors(self.power).sum())

    def after_step(self, total: Callable[[Tensor], Tensor]) -> None:
        """Nothing is gathered."""

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> Tensor:
        predicted = (student_logits(student).float() / self.temperature).softmax(dim=1)
        total = predicted.new_zeros(())
        for place, (factor, outputs) in enumerate(zip(self.costs.factors(self.power), teachers, strict=True)):
            said = (teacher_logits(outputs).float() / self.temperature).softmax(dim=1)
            if float(factor) > 0:
                problem = OTProblem(self.costs.matrix(place), said, predicted)
                total = total + factor * self.solver.solve(problem).value.mean()
        # Kept in the graph at weight zero, so that distributed training finds a gradient for every parameter.
        return total + 0.0 * predicted.sum()
