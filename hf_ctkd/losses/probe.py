"""Distillation of the target classes that linear probes read from the teachers' features."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses.base import (
    GAIN_MEANING,
    DistillationLoss,
    labelled_share,
    row_divergence,
    row_weights,
    student_logits,
)
from hf_ctkd.probes import LinearProbe
from hf_ctkd.probes.ensemble import ProbeEnsemble
from hf_ctkd.records import Proportion
from hf_ctkd.types import LossContext, ModelOutputs, Needs


class ProbeLoss(DistillationLoss):
    """KL from the posterior of linear probes to the student's predictions, weighted by the probes' information gain.

    Use it where nothing is known of the class shares among unlabelled rows; elsewhere `RowTransportLoss` gains more. It
    needs at least two labelled rows a class, and reads headless encoders as well as classifiers.

    Regularised linear probes read the target classes from each teacher's features. The term is weighted by their
    cross-fitted information gain, so that a teacher that knows nothing does no harm. A labelled row counts by the
    labelled share of all rows, at most 0.3, because the task loss already teaches its label.

    Args:
        probe: how the probe is fitted.
        temperature: of the student's predictions, positive.

    Raises:
        InvalidArgumentError: `temperature` is not positive.

    Reference:
        Ours; see `hf_ctkd.probes.LinearProbe`.

    Example:
        >>> from hf_ctkd import DistillationConfig, DistillationTrainer, LinearProbe, ProbeLoss
        >>> loss = ProbeLoss(LinearProbe(folds=10))
        >>> trainer = DistillationTrainer(  # doctest: +SKIP
        ...     model=student,
        ...     args=DistillationConfig("flowers-student", num_train_epochs=20),
        ...     processing_class=image_processor,
        ...     teachers=["facebook/dinov2-small"],
        ...     loss=loss,
        ...     train_dataset=flowers["train"],
        ... )
        >>> trainer.train()  # doctest: +SKIP
    """

    name: ClassVar[str] = "probe"
    teaches_labels = True
    weight_meaning = GAIN_MEANING
    citation = "Introduced with hf_ctkd, without a paper: KL from the posterior of cross-fitted linear probes."
    labelled_share: Tensor
    needs = Needs.TEACHER | Needs.FEATURES | Needs.LAYERS | Needs.FIT

    def __init__(self, probe: LinearProbe = LinearProbe(), *, temperature: float = 1.0) -> None:  # noqa: B008 (frozen)
        super().__init__()
        if not temperature > 0:
            raise InvalidArgumentError(f"`temperature` must be positive, got {temperature}.")
        self.probe = probe
        self.temperature = temperature
        self.probes = ProbeEnsemble(probe)
        self.register_buffer("labelled_share", torch.ones(()))

    def setup(self, context: LossContext) -> None:
        """Fit the probes on the labelled rows; see `DistillationLoss.setup`."""
        self.probes.fit(context)
        self.labelled_share = labelled_share(context.labels)

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The term `probe`; see `DistillationLoss.forward`."""
        with torch.autocast(student.features.device.type, enabled=False):
            log_posterior = self.probes.log_posterior(None, teachers)
        return self.on_targets(student, log_posterior, labels)

    def row_targets(self, context: LossContext) -> Float[Tensor, "rows classes"]:
        """Log posteriors of the probes; see `DistillationLoss.row_targets`."""
        return self.probes.log_posteriors(context)

    def class_probabilities(self, targets: Float[Tensor, "rows classes"]) -> Float[Tensor, "rows classes"]:
        """Posteriors of the probes; see `DistillationLoss.class_probabilities`."""
        return targets.exp()

    def on_targets(
        self, student: ModelOutputs, targets: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The term `probe`; see `DistillationLoss.on_targets`."""
        with torch.autocast(student.features.device.type, enabled=False):
            log_predicted = (student_logits(student).float() / self.temperature).log_softmax(dim=1)
            divergence = row_divergence(log_predicted, targets.float().exp(), row_weights(labels, self.labelled_share))
        return {self.name: self.probes.information_gain * divergence}

    def strength(self) -> float:
        """Information gain of all teachers together, in [0, 1]."""
        return float(self.probes.information_gain)

    def weights(self) -> tuple[float, ...]:
        """Information gain of each teacher, in [0, 1]."""
        return tuple(self.probes.teacher_information_gains.tolist())

    def probe_accuracies(self) -> tuple[Proportion, ...]:
        """Of the probes that it distils; see `DistillationLoss.probe_accuracies`."""
        return self.probes.teacher_accuracies
