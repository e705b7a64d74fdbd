"""The base class of distillation losses, and what several losses share."""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.probes.labelled import CHUNK_ROWS
from hf_ctkd.records import Proportion, distinct_names
from hf_ctkd.types import UNLABELLED, LossContext, ModelOutputs, Needs, RowOutputs

GAIN_MEANING = (
    "the teacher's information gain: the share of the uncertainty about the labels that linear probes on the teacher "
    "remove, measured on labelled rows held out"
)
"""`DistillationLoss.weight_meaning` of losses that read teachers by probes."""
RESERVED = frozenset(
    {"logits", "task_loss", "loss", "grad_norm", "learning_rate", "epoch", "step", "num_input_tokens_seen"}
    | {"teacher_passes", "teacher_passes_skipped"}
)
"""Names that the trainer logs or returns itself: no term and no diagnostic of a loss may have one of them."""
LARGEST_LABELLED_WEIGHT = 0.3
"""Largest weight of a labelled row in a loss that teaches labels, where an unlabelled row has weight 1.

See `row_weights`. With 1, pretrained students of pictures with a label on every training row fell behind labels alone.
Chosen on validation rows; `benchmarks/evidence/results/pretrained.csv` has the accuracies of students with all labels.
"""


class DistillationLoss(nn.Module, ABC):
    """Base class of losses by which a student learns from teachers: a module with its own weights, but without a model.

    The trainer calls `setup` once, trains the module's parameters together with the student, saves them in checkpoints
    and does not publish them. Subclasses set the class attributes, store every constructor argument under its own name,
    make parameters and buffers in `setup`, and return named terms from `forward`, which the trainer adds up and logs.

    A loss of features or a regulariser has an argument `weight`, whose default suits the scale of its term;
    `DistillationConfig.distillation_weight` multiplies whatever `forward` returns.

    Subclass it in any package: no registration is needed. Check it with `hf_ctkd.testing.check_loss`.

    Example:
        >>> from hf_ctkd import DistillationLoss, Needs
        >>> class FeatureNormLoss(DistillationLoss):
        ...     name = "feature_norm"
        ...     citation = "An example."
        ...     needs = Needs.TEACHER | Needs.FEATURES
        ...
        ...     def forward(self, student, teachers, labels):
        ...         targets = sum(teacher.features.norm(dim=1) for teacher in teachers) / len(teachers)
        ...         return {self.name: (student.features.norm(dim=1) - targets).square().mean()}
        >>> trainer = DistillationTrainer(loss=FeatureNormLoss(), ...)  # doctest: +SKIP
    """

    name: ClassVar[str]
    """Short name for tables, logs and the command line."""
    citation: str
    """BibTeX of the paper, with a `note` where the loss is reconstructed from it; words for a loss without a paper."""
    needs: Needs
    """What it reads besides the student's features and logits in training; `Needs.NOTHING` for a regulariser.

    Set on the class, or by the constructor.
    """
    hidden: tuple[tuple[int, int], ...] = ()
    """Layers that it reads: pairs of indices into `hidden_states` of the student and of the teacher, in this order.

    Their outputs are in `ModelOutputs.hidden`, one for each pair.
    """

    teaches_labels: bool = False
    """Whether its targets are probabilities of the target classes, or values to predict, so that it replaces labels.

    The trainer then divides the task loss of a step by all rows of the step, see
    `DistillationConfig.labelled_row_weight`, and reads every row once in an epoch. Beside a loss of features or a
    regulariser the task loss is a mean over labelled rows, and these may be repeated, see
    `DistillationConfig.labelled_share`.
    """

    weight_meaning: str = "the teacher's share in the distillation loss"
    """What `weights` returns, as the card says it after "The weight is"."""
    transport_meaning: str = ""
    """What `transport_map` shows, as a sentence for the card; empty for a loss that has none."""

    learning_rate: float | None = None
    """Peak learning rate of the loss's own parameters, which then have no weight decay; None for the student's."""

    def setup(self, context: LossContext) -> None:
        """Make parameters and buffers that depend on models and data; called once, before the optimiser is made.

        Raises:
            InvalidArgumentError: if the teachers do not have what the loss needs.
        """

    def row_targets(self, context: LossContext) -> Float[Tensor, "rows width"] | None:
        """The targets of all training rows, where they depend neither on the student in training nor on augmentation.

        The trainer computes them once, after `setup`, passes those of each batch to `on_targets` in the place of
        `forward`, and runs no teacher during training. Both must give the same terms for the same rows.

        Args:
            context: as given to `setup`.

        Returns:
            One row of targets for each training row; None for a loss that reads teachers at every step.
        """
        return None

    def on_targets(
        self, student: ModelOutputs, targets: Float[Tensor, "batch width"], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The terms of `forward`, with rows of `row_targets` in place of the teachers' outputs.

        Args:
            student: outputs with gradient.
            targets: of the rows of the batch.
            labels: target labels, -100 for unlabelled rows.

        Returns:
            Terms by name, as `forward` returns them.

        Raises:
            NotImplementedError: if the loss has no `row_targets`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no targets that are computed once.")

    def class_probabilities(self, targets: Float[Tensor, "rows width"]) -> Float[Tensor, "rows classes"]:
        """The probabilities of the target classes that rows of `row_targets` stand for, before any student's part.

        `hf_ctkd.soft_targets` returns them. Losses whose targets are no class probabilities do not override it.

        Args:
            targets: of some rows.

        Raises:
            NotImplementedError: if the targets of the loss are no class probabilities.
        """
        raise NotImplementedError(f"{type(self).__name__} has no class probabilities.")

    def select(self, student: ModelOutputs) -> Bool[Tensor, "batch teachers"] | None:
        """Which rows of a batch each teacher runs on, decided before any of them runs.

        `forward` is given a teacher's outputs on its selected rows alone, in their order; there may be no such row.

        Args:
            student: its outputs on all rows of the batch.

        Returns:
            True for the rows that a teacher runs on; None for all rows and teachers.
        """
        return None

    @property
    def selects_rows(self) -> bool:
        """Whether `select` is overridden; if not, the collator puts cached outputs of all rows into each batch."""
        return type(self).select is not DistillationLoss.select

    def after_step(self, total: Callable[[Tensor], Tensor]) -> None:
        """Update statistics after an optimiser step; the trainer calls it on every process.

        Statistics of more than one row, such as a running mean, are summed in `forward` and updated only here.
        Otherwise the loss would depend on how the rows of a step are split into micro-batches and among processes.

        Args:
            total: sums a tensor over processes; must be called on all of them or on none.
        """

    @abstractmethod
    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The terms to train on.

        Args:
            student: outputs with gradient.
            teachers: outputs of each teacher on the same rows, or on those that `select` returned for it, without
                gradient.
            labels: target labels, -100 for unlabelled rows.

        Returns:
            Scalars by name, each a mean over the rows of the batch. The trainer refuses a name in `RESERVED`.
        """

    def task_factor(self) -> float:
        """Factor of the task loss in the next optimiser step; 0 in a phase that trains on the distillation loss alone.

        It may change in `after_step` only, so that all micro-batches of a step have the same factor.
        """
        return 1.0

    def strength(self) -> float:
        """How much its targets are trusted after `setup`, in [0, 1]; at 0 the trainer trains on labels alone."""
        return 1.0

    def weights(self) -> tuple[float, ...]:
        """Weight of each teacher, for the record; empty for a loss without weights."""
        return ()

    def probe_accuracies(self) -> tuple[Proportion, ...]:
        """Labelled rows that linear probes of each teacher get right, cross-fitted, for the card; empty without probes.

        A teacher of other classes has no other accuracy on those of the target.
        """
        return ()

    def transport_map(self, context: LossContext) -> Float[Tensor, "teacher_classes target_classes"] | None:
        """How the loss maps the classes of the first teacher to those of the target, for the card.

        Args:
            context: as given to `setup`.

        Returns:
            Shares of all training rows; None for a loss without such a map, or a first teacher without classes.
        """
        return None

    def input_share(self) -> float:
        """Share of the student's input features in the targets, for the record; 0 if only teachers are read."""
        return 0.0

    def diagnostics(self) -> dict[str, float]:
        """Numbers to log beside the terms, such as an effective rank, under other names than those of the terms."""
        return {}

    def remarks(self) -> tuple[str, ...]:
        """Sentences on what went wrong in training, for the card's limitations."""
        return ()

    def settings(self) -> dict[str, Any]:
        """Constructor arguments as JSON values, for logs and the card."""
        attributes = vars(self)
        stored = {**attributes, **attributes["_modules"]}
        return {
            name: as_setting(stored[name])
            for name in inspect.signature(type(self).__init__).parameters
            if name in stored
        }


def as_setting(value: Any) -> Any:  # noqa: ANN401 (any setting)
    """A constructor argument as a JSON value: numbers and strings as they are, objects by name and settings."""
    if isinstance(value, DistillationLoss):
        return {"name": value.name, **value.settings()}
    if isinstance(value, dict):
        return {str(name): as_setting(item) for name, item in value.items()}
    if isinstance(value, list | tuple | nn.ModuleList):
        return [as_setting(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


def on_selected_rows(
    teachers: tuple[ModelOutputs, ...],
    selected: Bool[Tensor, "batch teachers"] | None,
    available: Bool[Tensor, "batch teachers"] | None = None,
) -> tuple[ModelOutputs, ...]:
    """The outputs of each teacher on the rows that it is selected for.

    Args:
        teachers: outputs of each teacher, on all rows of the batch or on those of `available`.
        selected: as returned by `DistillationLoss.select`; None to return `teachers` as they are.
        available: the rows that the outputs are of, which include the selected ones; None for all rows.
    """
    if selected is None:
        return teachers
    rows = (selected[:, i] if available is None else selected[available[:, i], i] for i in range(len(teachers)))
    return tuple(outputs.select(mask) for outputs, mask in zip(teachers, rows, strict=True))


def check_names(loss: DistillationLoss, names: Iterable[str], reserved: Collection[str] = RESERVED) -> None:
    """Refuse reserved names of terms or diagnostics.

    Args:
        loss: whose terms or diagnostics they are.
        names: of its terms or diagnostics.
        reserved: names that it may not use.

    Raises:
        InvalidArgumentError: naming the first reserved one.
    """
    for name in names:
        if name in reserved:
            raise InvalidArgumentError(
                f"`loss` {type(loss).__name__} calls a term or a diagnostic {name!r}, a name that is taken. Rename it."
            )


def numbers_beside_terms(loss: DistillationLoss, teachers: Sequence[str], terms: Collection[str]) -> dict[str, float]:
    """What is logged of a loss beside its terms: its diagnostics, and the weight of each teacher under `weight/NAME`.

    Args:
        loss: after `setup`.
        teachers: their names, in the order of the loss; the second of the same name is `weight/NAME (2)`.
        terms: names that its diagnostics may not have.

    Raises:
        InvalidArgumentError: if a diagnostic has the name of a term, or one of `RESERVED`.
    """
    diagnostics = loss.diagnostics()
    check_names(loss, diagnostics, RESERVED | set(terms))
    weights = loss.weights()
    named = zip(distinct_names(teachers), weights, strict=bool(weights))
    return diagnostics | {f"weight/{name}": weight for name, weight in named}


def require_teachers(context: LossContext, loss: str) -> None:
    """Refuse to set up without a teacher.

    Args:
        context: as given to `setup`.
        loss: name of the loss, for the message.

    Raises:
        InvalidArgumentError: if the context has none.
    """
    if not context.teachers:
        raise InvalidArgumentError(f"`teachers` must hold at least one teacher for {loss}, got none.")


def require_logits(context: LossContext, loss: str) -> None:
    """Refuse headless teachers.

    Args:
        context: as given to `setup`.
        loss: name of the loss, for the message.

    Raises:
        InvalidArgumentError: naming the teacher by its index.
    """
    for index, space in enumerate(context.teacher_label_spaces):
        if space is None:
            raise InvalidArgumentError(
                f"`loss` {loss} reads class predictions, but teacher {index} has no head. "
                "Choose a classifier, or a loss that reads features, such as RowTransportLoss()."
            )


def require_weight(weight: float) -> None:
    """Refuse a weight of a loss that is no positive number.

    Args:
        weight: the argument of that name.

    Raises:
        InvalidArgumentError: if it is zero, negative, infinite or NaN.
    """
    if not (math.isfinite(weight) and weight > 0):
        raise InvalidArgumentError(f"`weight` must be a positive number, got {weight}.")


def student_logits(student: ModelOutputs) -> Float[Tensor, "batch classes"]:
    """The student's logits, with gradient.

    Args:
        student: its outputs.

    Raises:
        InvalidArgumentError: if it has none.
    """
    if student.logits is None:
        raise InvalidArgumentError("`student` must be a classifier with logits for this loss, but it has none.")
    return student.logits


def teacher_logits(teacher: ModelOutputs) -> Float[Tensor, "batch teacher_classes"]:
    """A teacher's logits, without gradient.

    Args:
        teacher: its outputs.

    Raises:
        InvalidArgumentError: if it has none.
    """
    if teacher.logits is None:
        raise InvalidArgumentError("`teachers` must have logits for this loss, got a headless encoder.")
    return teacher.logits.detach()


def joint_shares(
    teacher: RowOutputs, targets_of: Callable[[ModelOutputs, slice], Float[Tensor, "batch classes"]]
) -> Float[Tensor, "teacher_classes classes"]:
    """Joint distribution of a teacher's classes and the target's, a mean over all rows; all entries sum to one.

    Args:
        teacher: its outputs over all rows, with logits.
        targets_of: a function of the outputs of some rows, and of their slice, that returns the probabilities of the
            target's classes for these rows.
    """
    sums = [
        teacher_logits(outputs).double().softmax(dim=1).T @ targets_of(outputs, rows).double()
        for rows, outputs in teacher.chunks(CHUNK_ROWS)
    ]
    return torch.stack(sums).sum(dim=0) / len(teacher)


def labelled_share(labels: Int[Tensor, " rows"]) -> Float[Tensor, ""]:
    """Share of the rows that have a label, in [0, 1].

    Args:
        labels: of all training rows, -100 for unlabelled ones.
    """
    return (labels != UNLABELLED).float().mean()


def labelled_share_read(context: LossContext) -> Float[Tensor, ""]:
    """Share of the rows read in an epoch that have a label, in [0, 1]: a repeated row counts each time.

    Divide a sum over the labelled rows of a batch by its rows times this share: in expectation that is their mean,
    however a step is split into batches.

    Args:
        context: as given to `setup`.
    """
    if context.times_read is None:
        return labelled_share(context.labels)
    times = context.times_read.float()
    return (context.labels != UNLABELLED).float() @ times / times.sum()


def row_divergence(
    log_predicted: Float[Tensor, "batch classes"],
    targets: Float[Tensor, "batch classes"],
    weights: Float[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """`sum_i weight_i KL(target_i | prediction_i) / rows`: divided by the number of rows, not by the sum of weights.

    Args:
        log_predicted: the student's log probabilities.
        targets: probabilities, each row summing to one.
        weights: of the rows, see `row_weights`.
    """
    return weights @ F.kl_div(log_predicted, targets, reduction="none").sum(dim=1) / len(weights)


def row_weights(labels: Int[Tensor, " batch"], labelled_share: Float[Tensor, ""]) -> Float[Tensor, " batch"]:
    """Weight of each row in a loss that teaches labels: 1 without a label, little with one.

    The weight of a labelled row is the labelled share of all training rows, at most `LARGEST_LABELLED_WEIGHT`.

    Args:
        labels: target labels, -100 for unlabelled rows.
        labelled_share: share of all training rows that have a label.
    """
    return torch.where(labels == UNLABELLED, 1.0, labelled_share.clamp_max(LARGEST_LABELLED_WEIGHT))


def chunked_targets(
    context: LossContext, targets_of: Callable[[ModelOutputs, int], Tensor], device: torch.device
) -> Float[Tensor, "rows width"]:
    """Targets of all rows by each teacher, concatenated along the width, on the CPU; teachers are read in chunks.

    Args:
        context: with teachers over all rows.
        targets_of: a function of the outputs of some rows, and of the index of their teacher, that returns the targets
            of these rows.
        device: where the outputs are moved before `targets_of` is called.
    """
    columns = [
        torch.cat([targets_of(outputs.to(device), index).cpu() for _, outputs in teacher.chunks(CHUNK_ROWS)])
        for index, teacher in enumerate(context.teachers)
    ]
    return torch.cat(columns, dim=1)


def evenly_spaced(outputs: RowOutputs, most: int) -> ModelOutputs:
    """The outputs of at most `most` rows, evenly spaced over all of them.

    Args:
        outputs: of a model.
        most: number of rows to return, where there are as many.
    """
    count = min(most, len(outputs))
    return outputs.select(torch.arange(count) * len(outputs) // max(count, 1))
