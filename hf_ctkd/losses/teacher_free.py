"""The teacher-free baseline: what the student's own input features tell of the classes. A teacher has to beat it."""

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.losses.base import DistillationLoss
from hf_ctkd.losses.row_transport import RowTransportLoss
from hf_ctkd.probes import LinearProbe
from hf_ctkd.types import LossContext, ModelOutputs, Needs


class TeacherFreeLoss(DistillationLoss):
    """`RowTransportLoss` without teachers: one probe reads the student's input features (pixels, or weighted tokens).

    Use it beside every student that a teacher taught: both have the same labels, unlabelled rows and class shares, so
    the difference is what the teacher brought. Where labels are few it is a strong baseline. It needs at least two
    labelled rows a class. Not as the loss of a student for which a good teacher is at hand.

    Args:
        probe: how the linear probe is fitted.
        epsilon: as in `RowTransportLoss`.
        gain_exponent: as in `RowTransportLoss`.
        prior_strength: as in `RowTransportLoss`.
        self_distillation: as in `RowTransportLoss`.
        refit_rounds: as in `RowTransportLoss`.

    Raises:
        InvalidArgumentError: an argument is out of its range.

    Reference:
        Ours: a baseline.

    Example:
        >>> from hf_ctkd import DistillationConfig, DistillationTrainer, TeacherFreeLoss
        >>> loss = TeacherFreeLoss()
        >>> trainer = DistillationTrainer(  # doctest: +SKIP
        ...     model=student,
        ...     args=DistillationConfig("flowers-student", num_train_epochs=20),
        ...     processing_class=image_processor,
        ...     teachers=None,
        ...     loss=loss,
        ...     train_dataset=flowers["train"],
        ... )
        >>> trainer.train()  # doctest: +SKIP
    """

    name: ClassVar[str] = "teacher_free"
    teaches_labels = True
    citation = "Introduced with hf_ctkd, without a paper: the teacher-free baseline of the loss row_transport."
    needs = Needs.FIT | Needs.INPUT

    def __init__(
        self,
        probe: LinearProbe = LinearProbe(),  # noqa: B008 (frozen)
        *,
        epsilon: float = 0.25,
        gain_exponent: float = 1.0,
        prior_strength: float = 4.0,
        self_distillation: float = 0.7,
        refit_rounds: int = 2,
    ) -> None:
        super().__init__()
        self.probe = probe
        self.epsilon, self.gain_exponent = epsilon, gain_exponent
        self.prior_strength, self.self_distillation = prior_strength, self_distillation
        self.refit_rounds = refit_rounds
        self.transport = RowTransportLoss(
            probe,
            epsilon=epsilon,
            gain_exponent=gain_exponent,
            prior_strength=prior_strength,
            self_distillation=self_distillation,
            refit_rounds=refit_rounds,
        )

    def setup(self, context: LossContext) -> None:
        """Fit the probe and transport all rows; see `RowTransportLoss.setup`."""
        self.transport.setup(replace(context, teachers=()))

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The term `teacher_free`; teachers are not read; see `DistillationLoss.forward`."""
        return self._renamed(self.transport(student, (), labels))

    def row_targets(self, context: LossContext) -> Float[Tensor, "rows classes"]:
        """Log posteriors of the probe; see `RowTransportLoss.row_targets`."""
        return self.transport.row_targets(replace(context, teachers=()))

    def class_probabilities(self, targets: Float[Tensor, "rows classes"]) -> Float[Tensor, "rows classes"]:
        """Rows of the transport plan of the probe alone; see `DistillationLoss.class_probabilities`."""
        return self.transport.class_probabilities(targets)

    def on_targets(
        self, student: ModelOutputs, targets: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The term `teacher_free`; see `DistillationLoss.on_targets`."""
        return self._renamed(self.transport.on_targets(student, targets, labels))

    def _renamed(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        return {self.name: terms[self.transport.name]}

    def after_step(self, total: Callable[[Tensor], Tensor]) -> None:
        """Update the agreement of targets and student; see `DistillationLoss.after_step`."""
        self.transport.after_step(total)

    def strength(self) -> float:
        """Information gain of the probe, in [0, 1]."""
        return self.transport.strength()

    def input_share(self) -> float:
        """Always 1: nothing else is read."""
        return 1.0

    def diagnostics(self) -> dict[str, float]:
        """Information gain of the probe."""
        return {"input_information_gain": self.transport.strength()}
