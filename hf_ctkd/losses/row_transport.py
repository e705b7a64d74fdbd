"""The default loss: all training rows are transported onto the target classes, at costs from linear probes."""

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses.base import (
    GAIN_MEANING,
    DistillationLoss,
    joint_shares,
    labelled_share,
    row_divergence,
    row_weights,
    student_logits,
)
from hf_ctkd.ot import transport_rows
from hf_ctkd.probes import LinearProbe, estimate_prior
from hf_ctkd.probes.ensemble import ProbeEnsemble
from hf_ctkd.probes.labelled import fitting_rows
from hf_ctkd.records import Proportion
from hf_ctkd.types import UNLABELLED, LossContext, ModelOutputs, Needs


class RowTransportLoss(DistillationLoss):
    """KL from the plan of an optimal transport of all training rows onto the classes to the student's predictions.

    Use it by default; teachers may be classifiers or headless encoders of any task. It needs at least two labelled rows
    a class. If the labelled rows were picked class by class, so that their class shares say nothing of the unlabelled
    rows, use `ProbeLoss`.

    1. Cross-fitted linear probes read the target classes from the teachers' layers of all depths and from the
       student's input features or own layers. Their log-mean, weighted by information gain, is one log posterior per
       row.
    2. All rows are transported at once onto the classes, at cost `-log posterior`. The class shares are estimated from
       the labels; the more rows have a label, the more it costs to deviate from them. The soft target of a row is its
       row of the transport plan, scaled to sum to one.
    3. The probes are refitted, to the labels of labelled rows and the soft targets of unlabelled ones, and the rows are
       transported again, `refit_rounds` times. A refit reads at most `MAX_FITTING_ROWS` (10,000) rows.
    4. At each step, the student's own log prediction is mixed into the log posterior, so that a student that predicts
       better than the probes is not held back. Its share is `self_distillation` times the information gain, times the
       agreement of student and soft targets in the step before: the mean probability that both draw the same class.

    The term has weight `(1 - s) * gain ** gain_exponent + s`, where `s` is the student's share of step 4 and `gain`
    the information gain of all probes together, on rows held out. A teacher that predicts poorly has a small share in
    the log-mean, and one that knows less than the input features, or than the student, hardly counts. Within the term,
    an unlabelled row has weight 1, and a labelled row the labelled share of all rows, at most 0.3: the task loss
    already teaches its label, and a probe of frozen features often disagrees with it.

    Args:
        probe: how the linear probes are fitted.
        epsilon: strength of the entropic regularisation of the transport in nats, positive: it is the
            temperature of the soft targets, so that values below 1 make them sharper than the posteriors.
        gain_exponent: exponent of the information gain in the weight of the term, 0 or more; 0 gives weight 1. (In the
            log-mean of step 1 the exponent is fixed.)
        prior_strength: price of a deviation from the estimated class shares, in nats of KL for each labelled row,
            positive; infinity holds the shares exactly.
        self_distillation: largest share of the student's own prediction in its target, in [0, 1); 0 distils the
            transport plan alone.
        input_features: what is read beside the teachers. True fits a probe to the student's input features too (pixels,
            or tokens weighted by rarity). "student" fits one to each of the student's own layers before training
            instead, for a pretrained student and rows that are not augmented: a student whose teachers know no more
            than it does learns from itself. False reads teachers alone. A trainer without a `loss` chooses "student"
            for a pretrained student where it can.
        refit_rounds: how often the probes are refitted to the transport plan, 0 or more.

    Raises:
        InvalidArgumentError: an argument is out of its range.

    Reference:
        Ours. Entropic transport after Cuturi, arXiv:1306.0895; relaxed class shares after Chizat et al.,
        arXiv:1607.05816.

    Example:
        >>> from hf_ctkd import DistillationConfig, DistillationTrainer, RowTransportLoss
        >>> loss = RowTransportLoss(self_distillation=0.5, input_features="student")
        >>> loss.settings()["refit_rounds"]
        2
        >>> from datasets import load_dataset  # doctest: +SKIP
        >>> from transformers import AutoImageProcessor, AutoModelForImageClassification  # doctest: +SKIP
        >>> flowers = load_dataset("nelorth/oxford-flowers")  # doctest: +SKIP
        >>> student = "WinKawaks/vit-tiny-patch16-224"  # doctest: +SKIP
        >>> trainer = DistillationTrainer(  # doctest: +SKIP
        ...     model=AutoModelForImageClassification.from_pretrained(
        ...         student, num_labels=102, ignore_mismatched_sizes=True
        ...     ),
        ...     args=DistillationConfig("flowers-student", num_train_epochs=20),
        ...     processing_class=AutoImageProcessor.from_pretrained(student),
        ...     teachers=["facebook/dinov2-small", "microsoft/resnet-50"],
        ...     loss=loss,
        ...     train_dataset=flowers["train"],
        ...     eval_dataset=flowers["test"],
        ... )
        >>> trainer.train()  # doctest: +SKIP
    """

    name: ClassVar[str] = "row_transport"
    teaches_labels = True
    weight_meaning = GAIN_MEANING
    transport_meaning = (
        "Each cell is the share of the training rows that the first teacher assigns to the one class and the loss to "
        "the other."
    )
    citation = """Introduced with hf_ctkd, without a paper. The first reference has entropic transport, the second
relaxed class shares.

@inproceedings{cuturi2013sinkhorn,
  title = {Sinkhorn Distances: Lightspeed Computation of Optimal Transport},
  author = {Cuturi, Marco},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {26},
  year = {2013},
  eprint = {1306.0895},
  archivePrefix = {arXiv}
}

@misc{chizat2016scaling,
  title = {Scaling Algorithms for Unbalanced Transport Problems},
  author = {Chizat, Lenaic and Peyre, Gabriel and Schmitzer, Bernhard and Vialard, Francois-Xavier},
  year = {2016},
  eprint = {1607.05816},
  archivePrefix = {arXiv}
}
"""
    potential: Tensor
    agreement: Tensor
    labelled_share: Tensor

    def __init__(
        self,
        probe: LinearProbe = LinearProbe(),  # noqa: B008 (frozen)
        *,
        epsilon: float = 0.25,
        gain_exponent: float = 1.0,
        prior_strength: float = 4.0,
        self_distillation: float = 0.7,
        input_features: bool | str = True,
        refit_rounds: int = 2,
    ) -> None:
        super().__init__()
        if not 0 < epsilon < math.inf:
            raise InvalidArgumentError(f"`epsilon` must be positive and finite, got {epsilon}.")
        if not prior_strength > 0:
            raise InvalidArgumentError(f"`prior_strength` must be positive, got {prior_strength}.")
        for name, value in (("gain_exponent", gain_exponent), ("refit_rounds", refit_rounds)):
            if not value >= 0:
                raise InvalidArgumentError(f"`{name}` must not be negative, got {value}.")
        if not 0 <= self_distillation < 1:
            raise InvalidArgumentError(f"`self_distillation` must lie in [0, 1), got {self_distillation}.")
        if input_features not in (True, False, "student"):
            raise InvalidArgumentError(
                f"`input_features` must be True, False or 'student', got {input_features!r}. Choose one of them."
            )
        self.probe = probe
        self.epsilon, self.gain_exponent = epsilon, gain_exponent
        self.prior_strength, self.self_distillation = prior_strength, self_distillation
        self.input_features, self.refit_rounds = input_features, refit_rounds
        self.needs = Needs.TEACHER | Needs.FIT | Needs.FEATURES | Needs.LAYERS
        self.needs |= {True: Needs.INPUT, False: Needs.NOTHING, "student": Needs.STUDENT}[input_features]
        self.probes = ProbeEnsemble(probe, input_features=input_features)
        self.register_buffer("potential", torch.zeros(0))
        # Small while the student is untrained, so that self-distillation needs no schedule.
        self.register_buffer("agreement", torch.zeros(()))
        self.register_buffer("labelled_share", torch.ones(()))
        self._step_agreement: Tensor | None = None  # sum and number of rows; no buffer, as each process has its own

    def setup(self, context: LossContext) -> None:
        """Fit the probes, transport all rows, then refit and transport again; see `DistillationLoss.setup`.

        Raises:
            DatasetError: a class has a single labelled row, or only one class is labelled.
            InvalidArgumentError: there is nothing to fit probes to, or it is not finite.
            NotConvergedError: the transport did not reach its tolerance.
        """
        self.probes.fit(context)
        self.labelled_share = labelled_share(context.labels)
        rows = fitting_rows(context.labels, context.seed, unlabelled=True)
        targets = self._transport(context, rows)
        for _ in range(self.refit_rounds):
            self.probes.refit(context, rows, targets)
            targets = self._transport(context, rows)

    def _transport(self, context: LossContext, rows: Int[Tensor, " some"]) -> Float[Tensor, "some classes"]:
        """Transport all rows, and return the soft targets of some of them."""
        log_posterior = self.probes.log_posteriors(context)
        prior = estimate_prior(context.labels, len(context.label_space))
        # The more labels, the surer the estimated shares. The objective of the transport is a mean over all rows, in
        # which `prior_strength` nats for each labelled row are `prior_strength * labelled / rows` nats.
        labelled = int((context.labels != UNLABELLED).sum())
        strength = self.prior_strength * labelled / len(log_posterior)
        self.potential = transport_rows(log_posterior, prior, epsilon=self.epsilon, prior_strength=strength).potential
        return self.soft_targets(log_posterior[rows])

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The term `row_transport`; see `DistillationLoss.forward`."""
        with torch.autocast(student.features.device.type, enabled=False):
            log_posterior = self.probes.log_posterior(student.inputs, teachers)
        return self.on_targets(student, log_posterior, labels)

    def row_targets(self, context: LossContext) -> Float[Tensor, "rows classes"]:
        """Log posteriors of the probes, before the student's are mixed in; see `DistillationLoss.row_targets`."""
        return self.probes.log_posteriors(context)

    def class_probabilities(self, targets: Float[Tensor, "rows classes"]) -> Float[Tensor, "rows classes"]:
        """Rows of the transport plan of the probes alone; see `DistillationLoss.class_probabilities`."""
        return self.soft_targets(targets.to(self.potential.device))

    def on_targets(
        self, student: ModelOutputs, targets: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The term `row_transport`; see `DistillationLoss.on_targets`."""
        with torch.autocast(student.features.device.type, enabled=False):
            return {self.name: self.divergence(student, targets.float(), labels)}

    def divergence(
        self, student: ModelOutputs, log_posterior: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        """The weighted KL from soft targets to the student's predictions, a mean over rows.

        In training mode it also records how well student and soft targets agree, for `after_step`.

        Args:
            student: its outputs, with logits.
            log_posterior: of the probes, for the same rows.
            labels: target labels, -100 for unlabelled rows.
        """
        log_predicted = student_logits(student).float().log_softmax(dim=1)
        weight, row_weight = self.probes.information_gain, row_weights(labels, self.labelled_share)
        if self.self_distillation == 0:
            targets, weight = self.soft_targets(log_posterior), weight**self.gain_exponent
        else:
            detached = log_predicted.detach()
            if self.training:
                self._record_agreement(self.soft_targets(log_posterior), detached, row_weight)
            share = self.self_distillation * weight * self.agreement
            targets = self.soft_targets(torch.lerp(log_posterior, detached, share))
            weight = (1 - share) * weight**self.gain_exponent + share
        return weight * row_divergence(log_predicted, targets, row_weight)

    def soft_targets(self, log_posterior: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
        """Rows of the transport plan, scaled to sum to one: `softmax((log_posterior + potential) / epsilon)`.

        Args:
            log_posterior: of the probes, or with the student's mixed in.
        """
        return ((log_posterior + self.potential) / self.epsilon).softmax(dim=1)

    def _record_agreement(
        self,
        targets: Float[Tensor, "batch classes"],
        log_predicted: Float[Tensor, "batch classes"],
        row_weight: Float[Tensor, " batch"],
    ) -> None:
        agreement = row_weight @ (targets * log_predicted.exp()).sum(dim=1)
        sums = torch.stack([agreement, row_weight.sum()])
        self._step_agreement = sums if self._step_agreement is None else self._step_agreement + sums

    def after_step(self, total: Callable[[Tensor], Tensor]) -> None:
        """Update the agreement of targets and student, a mean over all rows of the step; see `DistillationLoss`."""
        if self._step_agreement is not None:
            agreement, rows = total(self._step_agreement)
            self.agreement = agreement / rows.clamp_min(torch.finfo(rows.dtype).tiny)
            self._step_agreement = None

    def strength(self) -> float:
        """Information gain of all probes together, in [0, 1]."""
        return float(self.probes.information_gain)

    def remarks(self) -> tuple[str, ...]:
        """One sentence if the student's own layers explained at least as much of the labels as any teacher's."""
        gains = self.probes.teacher_information_gains
        if self.input_features != "student" or not len(gains) or (gains > self.probes.information_gains[-1]).any():
            return ()
        return (
            "No teacher's layers explained more of the labels than the student's own did before training, so that the "
            "student learns from its own for the most part.",
        )

    def weights(self) -> tuple[float, ...]:
        """Information gain of each teacher, in [0, 1]."""
        return tuple(self.probes.teacher_information_gains.tolist())

    def probe_accuracies(self) -> tuple[Proportion, ...]:
        """Of the probes before any refit; see `DistillationLoss.probe_accuracies`."""
        return self.probes.teacher_accuracies

    def transport_map(self, context: LossContext) -> Float[Tensor, "teacher_classes target_classes"] | None:
        """The transport plan of all rows, summed over the rows of each class of the first teacher."""
        if not context.teachers or context.teacher_label_spaces[0] is None:
            return None
        log_posterior, device = self.probes.log_posteriors(context), self.potential.device
        return joint_shares(
            context.teachers[0], lambda _, rows: self.soft_targets(log_posterior[rows].to(device)).cpu()
        )

    def input_share(self) -> float:
        """Share of the student's input features, or of its own layers, in the log-mean of the probes, in [0, 1]."""
        return self.probes.input_share

    def diagnostics(self) -> dict[str, float]:
        """`input_share`, where input features or the student's own layers are read."""
        return {"input_share": self.probes.input_share} if self.input_features else {}
