"""A committee of teachers that answer the student's questions in the student's own space."""

from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses.base import DistillationLoss, evenly_spaced, require_teachers
from hf_ctkd.losses.committee_modules import (
    EMBEDDING,
    Answers,
    Importance,
    Questions,
    most_important,
    relative_distance,
    starting_importances,
)
from hf_ctkd.losses.row_transport import RowTransportLoss
from hf_ctkd.probes import LinearProbe
from hf_ctkd.probes.ensemble import weighted_mean
from hf_ctkd.probes.labelled import MAX_FITTING_ROWS
from hf_ctkd.records import Proportion
from hf_ctkd.types import UNLABELLED, LossContext, ModelOutputs, Needs

IMPORTANCES = ("learned", "prior", "uniform")


class CommitteeLoss(DistillationLoss):
    """Several teachers, each asked by the student and answering in the student's own feature space.

    Every teacher has a small network that turns what its layers hold (and, if asked for, a question made of the
    student's features and an embedding of that teacher) into an answer as wide as the student's features. The student's
    features follow the answers, weighted by an importance that is known row by row *before* any teacher runs; the
    student's own head must classify the answers, which keeps them meaningful. Use it for several teachers of different
    kinds, above all where they are expensive: `importance_threshold` and `top_k` leave out those that matter little for
    a row, without running them. Without such a need, and for a single teacher, `RowTransportLoss` is simpler and was
    measured to gain as much (`benchmarks/RESULTS.md`). All of it is dropped when the student is published.

    *Collapse.* Answers are trained too, so both could match by becoming constant. Three things prevent it:
    the distance is relative to the length of both, so that shrinking them gains nothing; with `stop_gradient` answers
    do not follow the student; and the student's head must tell the classes from the answers (`task_weight`). Questions
    and importances take the student's features without gradient, and a question is narrow, so that an answer is no copy
    of them. `answer_spread` in the logs is the variance of answers over that of features: near 0 means collapse.

    Args:
        feature_weight: of the distance between features and answers, positive.
        task_weight: of the student's head on the answers, 0 or more.
        prior: cross-fitted probes of all teachers, fitted before training. They start the importances, weigh the
            distance by how much the teachers know, and their log-mean (transported onto the class shares, as in
            `RowTransportLoss`) tells answers and student what rows are, labelled or not. None is the paper's way:
            answers learn from the labelled rows alone, importances start equal, and teachers never run on all rows
            beforehand.
        input_features: read the student's own input too, as a member of the probes that is always asked and has no
            answer; see `RowTransportLoss`. With a `prior` only.
        importance: "learned" row by row from the start that `prior` gives, "prior" to stay there, "uniform" to believe
            all members alike.
        question: ask questions, as the paper does; else an answer depends on the teacher alone. Off by default: with
            few labels, an answer that depends on the student's features tends to repeat the student's own prediction
            (measured on validation rows).
        stop_gradient: let answers learn from the task alone, and not from the distance too.
        importance_threshold: teachers below it are not asked about a row, in [0, 1); the first one is in any case.
        top_k: most teachers asked about a row; None for no limit. Neither of the two without importances that differ.

    Raises:
        InvalidArgumentError: an argument out of its range, or some teachers to be asked where all are alike.

    Reference:
        Reconstructed from Liu et al., "Wisdom of committee: diverse distillation from large foundation models and
        domain experts", arXiv:2402.14035, which distils hidden states alone. The prior, the input features and the
        relative distance are ours.

    Example:
        >>> from hf_ctkd import DistillationConfig, DistillationTrainer, CommitteeLoss
        >>> loss = CommitteeLoss(top_k=1)
        >>> trainer = DistillationTrainer(  # doctest: +SKIP
        ...     model=student,
        ...     args=DistillationConfig("flowers-student", num_train_epochs=20),
        ...     processing_class=image_processor,
        ...     teachers=["facebook/dinov2-small", "microsoft/resnet-50"],
        ...     loss=loss,
        ...     train_dataset=flowers["train"],
        ... )
        >>> trainer.train()  # doctest: +SKIP
    """

    name: ClassVar[str] = "committee"
    teaches_labels = True
    citation = """@misc{liu2024wisdom,
  title = {Wisdom of Committee: Diverse Distillation from Large Foundation Models and Domain Experts},
  author = {Liu, Zichang and Liu, Qingyun and Li, Yuening and Liu, Liang and Shrivastava, Anshumali and Bi, Shuchao
            and Hong, Lichan and Chi, Ed H. and Zhao, Zhe},
  year = {2024},
  eprint = {2402.14035},
  archivePrefix = {arXiv},
  note = {Reconstructed; the prior and the relative distance are additions of hf_ctkd}
}
"""
    share: Tensor
    trust: Tensor
    importance_sums: Tensor

    def __init__(
        self,
        feature_weight: float = 5.0,
        task_weight: float = 1.0,
        *,
        prior: LinearProbe | None = LinearProbe(),  # noqa: B008 (frozen)
        input_features: bool = True,
        importance: str = "learned",
        question: bool = False,
        stop_gradient: bool = True,
        importance_threshold: float = 0.0,
        top_k: int | None = None,
    ) -> None:
        super().__init__()
        self.feature_weight, self.task_weight = feature_weight, task_weight
        self.prior = prior
        self.input_features = input_features and prior is not None
        self.importance, self.question, self.stop_gradient = importance, question, stop_gradient
        self.importance_threshold, self.top_k = importance_threshold, top_k
        self._check()
        self.needs = Needs.TEACHER | Needs.FEATURES | Needs.LAYERS
        if prior is not None:
            self.needs |= Needs.FIT
        if self.input_features:
            self.needs |= Needs.INPUT
        self.expertise: RowTransportLoss | None = None
        self.importance_network: Importance | None = None
        self.questions: Questions | None = None
        self.embeddings: nn.Parameter | None = None
        self.members = nn.ModuleList()
        for name in ("share", "trust", "importance_sums"):
            self.register_buffer(name, torch.zeros(0))
        self._last_batch: tuple[Tensor, Tensor, Tensor] | None = None

    def _check(self) -> None:
        if not self.feature_weight > 0:
            raise InvalidArgumentError(f"`feature_weight` must be positive, got {self.feature_weight}.")
        if not self.task_weight >= 0:
            raise InvalidArgumentError(f"`task_weight` must be 0 or more, got {self.task_weight}.")
        if self.task_weight == 0 and self.stop_gradient:
            raise InvalidArgumentError(
                "`task_weight` must be positive with `stop_gradient`, or nothing trains the answers, got 0."
            )
        if self.importance not in IMPORTANCES:
            raise InvalidArgumentError(
                f"`importance` must be one of {', '.join(IMPORTANCES)}, got {self.importance!r}."
            )
        if not 0 <= self.importance_threshold < 1:
            raise InvalidArgumentError(f"`importance_threshold` must lie in [0, 1), got {self.importance_threshold}.")
        if self.top_k is not None and self.top_k < 1:
            raise InvalidArgumentError(f"`top_k` must be at least 1, got {self.top_k}. Pass None for no limit.")
        equal = self.importance == "uniform" or (self.importance == "prior" and self.prior is None)
        if equal and not self._selects_all:
            raise InvalidArgumentError(
                "`top_k` and `importance_threshold` must be left out where all members are equally important, since "
                "none is to be asked before another. Set `importance` to 'learned', or to 'prior' with a `prior`."
            )

    def setup(self, context: LossContext) -> None:
        """Fit the probes and make the networks for the widths seen; see `DistillationLoss.setup`.

        Raises:
            InvalidArgumentError: no teacher, no linear head of the student, or a threshold that no member ever reaches.
            DatasetError: with a `prior`, if a class has a single labelled row, or only one class is labelled.
        """
        require_teachers(context, type(self).__name__)
        _head(context.student)
        width, count = context.student.features.shape[1], len(context.teachers)
        # A generator each: a further teacher, or another setting, changes nothing for the parts that were there.
        shared, *generators = (torch.Generator().manual_seed(context.seed + part) for part in range(1 + count))
        drawn = torch.stack([torch.randn(EMBEDDING, generator=generator) for generator in generators])
        labelled = (context.labels != UNLABELLED).float().mean()
        start = torch.full((count,), 1 / count)
        self.share, self.trust = labelled, torch.ones(())
        if self.prior is not None:
            self.expertise = RowTransportLoss(self.prior, input_features=self.input_features)
            self.expertise.setup(context)
            probes = self.expertise.probes
            self.trust = (probes.teacher_information_gains * probes.teacher_shares).sum()
            if self.importance != "uniform":
                start = starting_importances(probes.teacher_information_gains)
        self._check_threshold(start)
        if self.question:
            self.questions = Questions(width, shared)
        learned = self.importance == "learned" and count > 1
        if learned or self.question:
            self.embeddings = nn.Parameter(drawn)
        self.importance_network = Importance(width, start, learned=learned, generator=shared)
        self.members.extend(
            Answers(evenly_spaced(teacher, MAX_FITTING_ROWS), width, with_question=self.question, generator=generator)
            for teacher, generator in zip(context.teachers, generators, strict=True)
        )
        self.importance_sums = torch.zeros(count)

    def _check_threshold(self, start: Float[Tensor, " teachers"]) -> None:
        if self.importance != "learned" and self.importance_threshold > float(start.max()):
            raise InvalidArgumentError(
                f"`importance_threshold` must be at most {float(start.max()):.3g}, the largest importance "
                f"of a member, and none is learned, got {self.importance_threshold}. Lower it."
            )

    def select(self, student: ModelOutputs) -> Bool[Tensor, "batch teachers"] | None:
        """The important teachers of each row; see `DistillationLoss.select`."""
        if self._selects_all:
            return None
        with torch.no_grad():
            return self._selected(self._importance(student))

    @property
    def selects_rows(self) -> bool:
        """Whether a teacher may be left out of a row; see `DistillationLoss.selects_rows`."""
        return not self._selects_all

    def after_step(self, total: Callable[[Tensor], Tensor]) -> None:
        """How far student and probes agreed; see `DistillationLoss.after_step`."""
        if self.expertise is not None:
            self.expertise.after_step(total)

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The terms `committee`, `committee_task` and, with a `prior`, `committee_probe`; see `DistillationLoss`."""
        importance = self._importance(student)
        selected = self._selected(importance)
        with torch.autocast(student.features.device.type, enabled=False):
            features = student.features.float()
            weights = importance
            if selected is not None:
                weights = importance * selected
                weights = weights / weights.sum(dim=1, keepdim=True)
            answer = weighted_mean(self._answers(features, teachers, selected), weights, selected)
            distance = relative_distance(features, answer.detach() if self.stop_gradient else answer).mean()
            terms = {self.name: self.feature_weight * self.trust * distance}
            target = None
            if self.expertise is not None:
                log_posterior = self.expertise.probes.log_posterior(student.inputs, teachers, selected)
                target = self.expertise.soft_targets(log_posterior)
                terms[f"{self.name}_probe"] = self.expertise.divergence(student, log_posterior, labels)
            log_predicted = _head(student)(answer).float().log_softmax(dim=1)
            terms[f"{self.name}_task"] = self.task_weight * self._task(log_predicted, labels, target)
        self._record(weights.detach(), features.detach(), answer.detach())
        return terms

    def weights(self) -> tuple[float, ...]:
        """Mean importance of each teacher over the rows trained on; where it starts before that."""
        if self.importance_network is None:
            return ()
        importances = self.importance_sums if bool(self.importance_sums.any()) else self.importance_network.prior
        return tuple((importances / importances.sum()).tolist())

    def probe_accuracies(self) -> tuple[Proportion, ...]:
        """Of the probes of the `prior`; see `DistillationLoss.probe_accuracies`."""
        return () if self.expertise is None else self.expertise.probe_accuracies()

    def input_share(self) -> float:
        """How much of the soft targets is read out of the student's own input, in [0, 1]."""
        return 0.0 if self.expertise is None else self.expertise.input_share()

    def diagnostics(self) -> dict[str, float]:
        """Of the last batch: importance of each teacher, share of rows that it was asked about, spread of the answers.

        The spread is the variance of the answers over that of the student's features.
        """
        if self._last_batch is None:
            return {}
        weights, features, answer = self._last_batch
        variance = features.var(dim=0, unbiased=False).sum().clamp_min(1e-12)
        values = {f"{self.name}/answer_spread": float(answer.var(dim=0, unbiased=False).sum() / variance)}
        shares = (weights > 0).float().mean(dim=0).tolist()
        for index, (weight, share) in enumerate(zip(weights.mean(dim=0).tolist(), shares, strict=True)):
            prefix = f"{self.name}/teacher_{index}"
            values |= {f"{prefix}/importance": weight, f"{prefix}/asked": share}
        return values

    def _importance(self, student: ModelOutputs) -> Float[Tensor, "batch teachers"]:
        if self.importance_network is None:
            raise InvalidArgumentError("`setup` must be called before this loss can be used.")
        with torch.autocast(student.features.device.type, enabled=False):
            return self.importance_network(student.features.float(), self.embeddings)

    @property
    def _selects_all(self) -> bool:
        return self.importance_threshold == 0 and self.top_k is None

    def _selected(self, importance: Float[Tensor, "batch teachers"]) -> Bool[Tensor, "batch teachers"] | None:
        if self._selects_all:
            return None
        return most_important(importance.detach(), threshold=self.importance_threshold, top_k=self.top_k)

    def _answers(
        self,
        features: Float[Tensor, "batch width"],
        teachers: tuple[ModelOutputs, ...],
        selected: Bool[Tensor, "batch teachers"] | None,
    ) -> list[Tensor]:
        answers = []
        for index, (member, outputs) in enumerate(zip(self.members, teachers, strict=True)):
            question = None
            if self.questions is not None and self.embeddings is not None:
                rows = features if selected is None else features[selected[:, index]]
                question = self.questions(rows, self.embeddings[index])
            answers.append(member(outputs, question))
        return answers

    def _task(
        self,
        log_predicted: Float[Tensor, "batch classes"],
        labels: Int[Tensor, " batch"],
        target: Float[Tensor, "batch classes"] | None,
    ) -> Float[Tensor, ""]:
        """Cross-entropy of the head on the answers: with the label, or with what the probes say where there is none.

        A mean over rows of known number, never over the labels of a batch, so that it does not depend on how rows are
        dealt out to micro-batches and processes.
        """
        labelled = labels != UNLABELLED
        truth = F.one_hot(labels.clamp_min(0), log_predicted.shape[1]).to(log_predicted.dtype)
        if target is None:
            return -(truth * log_predicted).sum(dim=1).masked_fill(~labelled, 0.0).mean() / self.share
        return -(torch.where(labelled[:, None], truth, self.trust * target) * log_predicted).sum(dim=1).mean()

    def _record(self, weights: Tensor, features: Tensor, answer: Tensor) -> None:
        self._last_batch = (weights, features, answer)  # read only when something is logged
        if self.training:
            self.importance_sums += weights.sum(dim=0)


def _head(student: ModelOutputs) -> Callable[[Tensor], Tensor]:
    if student.head is None:
        raise InvalidArgumentError(
            "`model` must have a linear head for CommitteeLoss, which classifies the answers with it, but none was "
            "found. Use a model whose logits come from one linear layer, or another loss such as RowTransportLoss."
        )
    return student.head
