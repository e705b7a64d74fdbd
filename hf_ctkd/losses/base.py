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
from hf_ctkd.types import UNLABELLED, LossContext, ModelOutputs, Needs, RowOutputs

GAIN_MEANING = (
    "the teacher's information gain: the share of the uncertainty about the labels that linear probes on the teacher "
    "remove, measured on labelled rows held out"
)
"""What the weights of losses that read teachers by probes are, see `DistillationLoss.weight_meaning`."""
RESERVED = frozenset(
    {"logits", "task_loss", "loss", "grad_norm", "learning_rate", "epoch", "step", "num_input_tokens_seen"}
    | {"teacher_passes", "teacher_passes_skipped"}
)
"""Names that the trainer logs or returns itself, so that no term and no diagnostic of a loss may have them."""
LARGEST_LABELLED_WEIGHT = 0.3
"""Of a labelled row in a loss that teaches labels, where an unlabelled row has weight 1; see `row_weights`.

Of pretrained students with a label on every row, on validation rows: 0.3 / 1 / labels alone give 72.8 / 69.6 / 71.8 %
(emoji, two seeds), 55.8 / 57.4 / 53.3 % (Debian sections), 71.4 / 71.4 / 69.2 % (SciPy docstrings).
"""


class DistillationLoss(nn.Module, ABC):
    """How a student learns from teachers: a module with the loss's projections and fitted tensors, but no model.

    The trainer calls `setup` once, trains this module together with the student, saves it in checkpoints and does not
    publish it. Subclasses set the class attributes, store every constructor argument under its own name, make
    parameters and buffers in `setup`, and return named terms from `forward`, which the trainer adds up and logs.

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
    """What it reads of teachers; `Needs.NOTHING` for a loss without any. On the class, or set by the constructor."""
    hidden: tuple[tuple[int, int], ...] = ()
    """Pairs of indices into `hidden_states` (student's, teacher's) that it reads, as `ModelOutputs.hidden`."""

    teaches_labels: bool = False
    """Whether it teaches unlabelled rows what the task loss teaches labelled ones, so that both count row by row.

    The trainer then makes the task loss a mean over all rows of a step, see `DistillationConfig.labelled_row_weight`;
    beside a loss of features or a regulariser it stays a mean over labelled rows.
    """

    weight_meaning: str = "the teacher's share in the distillation loss"
    """What `weights` gives, for the card, to follow "The weight is"."""
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
        """The targets of all training rows, where they depend neither on the student nor on an augmentation.

        The trainer computes them once, after `setup`, passes the rows of each batch to `on_targets`, and reads no
        teacher during training. None for a loss that reads teachers at every step. `forward` must equal `on_targets`
        of the targets of its batch.

        Args:
            context: as given to `setup`.
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
        """
        raise NotImplementedError(f"{type(self).__name__} has no targets that are computed once.")

    def class_probabilities(self, targets: Float[Tensor, "rows width"]) -> Float[Tensor, "rows classes"]:
        """Rows of `row_targets` as probabilities of the target classes, as far as no student takes part in them.

        Losses whose targets are no such probabilities do not override it; see `hf_ctkd.soft_targets`.

        Args:
            targets: of some rows.
        """
        raise NotImplementedError(f"{type(self).__name__} has no class probabilities.")

    def select(self, student: ModelOutputs) -> Bool[Tensor, "batch teachers"] | None:
        """Which rows of a batch each teacher runs on, decided before any of them runs; None for all.

        `forward` is given a teacher's outputs on the selected rows alone, in their order: possibly none.

        Args:
            student: its outputs on all rows of the batch.
        """
        return None

    @property
    def selects_rows(self) -> bool:
        """Whether `select` may choose rows; else a batch holds the outputs of all its rows, which no step waits for."""
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
        """The terms to train on, each a mean over rows, by name; a name in `RESERVED` is refused.

        Args:
            student: outputs with gradient.
            teachers: outputs of each teacher on the same rows (on those that `select` chose for it, where it chooses),
                without gradient.
            labels: target labels, -100 for unlabelled rows.
        """

    def task_factor(self) -> float:
        """What the task loss of the next optimiser step is multiplied with: 0 in a phase that is the loss's alone.

        It may change in `after_step` only, so that all micro-batches of a step have the same.
        """
        return 1.0

    def strength(self) -> float:
        """How much its targets are trusted after `setup`, in [0, 1]; at 0 the trainer trains on labels alone."""
        return 1.0

    def weights(self) -> tuple[float, ...]:
        """Weight of each teacher, for the record; empty for a loss without weights."""
        return ()

    def transport_map(self, context: LossContext) -> Float[Tensor, "teacher_classes target_classes"] | None:
        """How the loss takes the classes of the first teacher to the target's, as shares of all rows, for the card.

        None for a loss that transports nothing, and for a first teacher without classes.

        Args:
            context: as given to `setup`.
        """
        return None

    def input_share(self) -> float:
        """Share of the student's input features in the targets, for the record; 0 where only teachers are read."""
        return 0.0

    def diagnostics(self) -> dict[str, float]:
        """Numbers to log that are no loss, such as a spectrum, under other names than those of the terms."""
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


def on_chosen(
    teachers: tuple[ModelOutputs, ...],
    chosen: Bool[Tensor, "batch teachers"] | None,
    given: Bool[Tensor, "batch teachers"] | None = None,
) -> tuple[ModelOutputs, ...]:
    """Outputs on the rows that each teacher was chosen for, out of those on more rows.

    Args:
        teachers: outputs of each teacher.
        chosen: as returned by `DistillationLoss.select`; None for all rows.
        given: the rows that the outputs are of, those chosen among them; None for all rows.
    """
    if chosen is None:
        return teachers
    rows = (chosen[:, i] if given is None else chosen[given[:, i], i] for i in range(len(teachers)))
    return tuple(outputs.select(mask) for outputs, mask in zip(teachers, rows, strict=True))


def check_names(loss: DistillationLoss, names: Iterable[str], reserved: Collection[str] = RESERVED) -> None:
    """Refuse names of terms or diagnostics that are reserved.

    Args:
        loss: whose they are.
        names: of its terms or diagnostics.
        reserved: names that it may not use.

    Raises:
        InvalidArgumentError: naming the first that is taken.
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
        teachers: their names, in the order of the loss.
        terms: names that its diagnostics may not have.

    Raises:
        InvalidArgumentError: if a diagnostic has the name of a term, or one of `RESERVED`.
    """
    diagnostics = loss.diagnostics()
    check_names(loss, diagnostics, RESERVED | set(terms))
    weights = loss.weights()
    return diagnostics | {f"weight/{name}": weight for name, weight in zip(teachers, weights, strict=bool(weights))}


def require_teachers(context: LossContext, loss: str) -> None:
    """Refuse to set up without a teacher.

    Raises:
        InvalidArgumentError: if the context has none.
    """
    if not context.teachers:
        raise InvalidArgumentError(f"`teachers` must hold at least one teacher for {loss}, got none.")


def require_logits(context: LossContext, loss: str) -> None:
    """Refuse headless teachers.

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

    Raises:
        InvalidArgumentError: if it is zero, negative, infinite or NaN.
    """
    if not (math.isfinite(weight) and weight > 0):
        raise InvalidArgumentError(f"`weight` must be a positive number, got {weight}.")


def student_logits(student: ModelOutputs) -> Tensor:
    """The student's logits.

    Raises:
        InvalidArgumentError: if it has none.
    """
    if student.logits is None:
        raise InvalidArgumentError("`student` must be a classifier with logits for this loss, but it has none.")
    return student.logits


def teacher_logits(teacher: ModelOutputs) -> Float[Tensor, "batch teacher_classes"]:
    """A teacher's logits, without gradient.

    Raises:
        InvalidArgumentError: if it has none.
    """
    if teacher.logits is None:
        raise InvalidArgumentError("`teachers` must have logits for this loss, got a headless encoder.")
    return teacher.logits.detach()


def joint_shares(
    teacher: RowOutputs, targets_of: Callable[[ModelOutputs, slice], Float[Tensor, "batch classes"]]
) -> Float[Tensor, "teacher_classes classes"]:
    """Share of the rows that a teacher predicts one class for and that have another as their target, for each pair.

    Args:
        teacher: its outputs over all rows, with logits.
        targets_of: outputs of a slice of the rows, and the slice -> probabilities of the target's classes.
    """
    sums = [
        teacher_logits(outputs).double().softmax(dim=1).T @ targets_of(outputs, rows).double()
        for rows, outputs in teacher.chunks(CHUNK_ROWS)
    ]
    return torch.stack(sums).sum(dim=0) / len(teacher)


def labelled_share(labels: Int[Tensor, " rows"]) -> Float[Tensor, ""]:
    """Share of the rows that have a label."""
    return (labels != UNLABELLED).float().mean()


def row_divergence(
    log_predicted: Float[Tensor, "batch classes"],
    targets: Float[Tensor, "batch classes"],
    weights: Float[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """KL from targets to predictions, a mean over rows of which each counts by its weight.

    Args:
        log_predicted: the student's log probabilities.
        targets: probabilities, each row summing to one.
        weights: of the rows, see `row_weights`.
    """
    return weights @ F.kl_div(log_predicted, targets, reduction="none").sum(dim=1) / len(weights)


def row_weights(labels: Int[Tensor, " batch"], labelled_share: Float[Tensor, ""]) -> Float[Tensor, " batch"]:
    """How much each row counts in a loss that teaches labels: 1 without a label, and little with one.

    A labelled row counts by the labelled share, but at most `LARGEST_LABELLED_WEIGHT`.

    Args:
        labels: -100 for unlabelled rows.
        labelled_share: of all training rows.
    """
    return torch.where(labels == UNLABELLED, 1.0, labelled_share.clamp_max(LARGEST_LABELLED_WEIGHT))


def chunked_targets(
    context: LossContext, targets_of: Callable[[ModelOutputs, int], Tensor], device: torch.device
) -> Float[Tensor, "rows width"]:
    """What a function of each teacher's outputs gives for all rows, side by side, on the CPU; read in chunks.

    Args:
        context: with teachers over all rows.
        targets_of: the outputs of some rows and the index of their teacher -> targets of these rows.
        device: where these outputs are needed.
    """
    columns = [
        torch.cat([targets_of(outputs.to(device), index).cpu() for _, outputs in teacher.chunks(CHUNK_ROWS)])
        for index, teacher in enumerate(context.teachers)
    ]
    return torch.cat(columns, dim=1)


def evenly_spaced(outputs: RowOutputs, most: int) -> ModelOutputs:
    """The outputs of at most so many rows, evenly spaced over all of them.

    Args:
        outputs: of a model, over all rows or a few.
        most: number of rows.
    """
    count = min(most, len(outputs))
    return outputs.select(torch.arange(count) * len(outputs) // max(count, 1))
