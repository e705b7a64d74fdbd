"""Types that the folders exchange: outputs of a model, a label space, and the inputs that a method needs."""

import enum
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError

UNLABELLED = -100
"""The label of a row without one, as in PyTorch: it has no task loss but is still distilled."""


class Needs(enum.Flag):
    """The inputs that a metric, a cost or a loss needs."""

    NOTHING = 0
    LOGITS = enum.auto()
    """The teacher's logits, which a headless encoder does not have."""
    FEATURES = enum.auto()
    """The input of the teacher's head, `[rows, width]`."""
    HIDDEN = enum.auto()
    """Chosen intermediate layers, `[rows, positions, width]`."""
    LAYERS = enum.auto()
    """Layers of all depths of the teacher, each pooled to one vector for each row."""
    LABEL_NAMES = enum.auto()
    """Informative names of the teacher's and the target's classes; see `LabelSpace.informative`."""
    FIT = enum.auto()
    """The teacher's outputs over all training rows, once, before training starts."""
    TEACHER = enum.auto()
    """At least one teacher; a loss without this need trains with `teachers=None`."""
    INPUT = enum.auto()
    """The student's input as plain features, `ModelOutputs.inputs` of the student."""
    TARGETS = enum.auto()
    """Labels as numbers, `LossContext.targets`, instead of one class for each row."""
    STUDENT = enum.auto()
    """The untrained student's features over all training rows, once: `LossContext.student_rows` after `setup` too. With
    `LAYERS` its pooled layers as well."""


@dataclass(frozen=True)
class Hidden:
    """One intermediate layer of a model over a batch.

    Args:
        values: `[batch, positions, width]`.
        grid: height and width of the positions of an image model, whose product is `positions`; `(positions,)` for
            text.
        mask: `[batch, positions]`, false at padding; None if every position counts.
    """

    values: Float[Tensor, "batch positions width"]
    grid: tuple[int, ...]
    mask: Bool[Tensor, "batch positions"] | None = None


@dataclass(frozen=True)
class ModelOutputs:
    """The outputs of a student or a teacher for a batch of rows.

    Args:
        features: `[batch, width]`, the input of the head, or the pooled output of a model without a head.
        logits: `[batch, classes]`, or None for a model without a head.
        hidden: selected intermediate layers, in the order in which they were requested.
        layers: layers of all depths, first to last, each pooled to `[batch, width of the layer]`; empty unless
            requested.
        dense: output of a dense model for every pixel, class scores `[batch, classes, height, width]` or depths
            `[batch, height, width]`; None for any other model.
        inputs: `[batch, inputs]`, the input of a student as plain features; None unless requested.
        head: the model's head as a function of such features, `[rows, width] -> [rows, classes]`, for a student with a
            linear head. A loss can call it without registering its weights. None for a teacher.
    """

    features: Float[Tensor, "batch width"]
    logits: Float[Tensor, "batch classes"] | None = None
    hidden: tuple[Hidden, ...] = ()
    layers: tuple[Tensor, ...] = ()
    dense: Float[Tensor, "batch *pixels"] | None = None
    inputs: Float[Tensor, "batch inputs"] | None = None
    head: Callable[[Tensor], Tensor] | None = None

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.features)

    def select(self, rows: Tensor) -> "ModelOutputs":
        """The outputs of some rows, by index or mask."""
        return ModelOutputs(
            features=self.features[rows],
            logits=None if self.logits is None else self.logits[rows],
            hidden=tuple(
                Hidden(layer.values[rows], layer.grid, None if layer.mask is None else layer.mask[rows])
                for layer in self.hidden
            ),
            layers=tuple(layer[rows] for layer in self.layers),
            dense=None if self.dense is None else self.dense[rows],
            inputs=None if self.inputs is None else self.inputs[rows],
            head=self.head,
        )

    def chunks(self, size: int) -> Iterator[tuple[slice, "ModelOutputs"]]:
        """The outputs in order, `size` rows at a time, each with its slice of rows."""
        for start in range(0, len(self), size):
            rows = slice(start, min(start + size, len(self)))
            yield rows, self.select(torch.arange(rows.start, rows.stop))

    def to(self, device: torch.device | str) -> "ModelOutputs":
        """The same outputs on another device."""
        return ModelOutputs(
            features=self.features.to(device),
            logits=None if self.logits is None else self.logits.to(device),
            hidden=tuple(
                Hidden(layer.values.to(device), layer.grid, None if layer.mask is None else layer.mask.to(device))
                for layer in self.hidden
            ),
            layers=tuple(layer.to(device) for layer in self.layers),
            dense=None if self.dense is None else self.dense.to(device),
            inputs=None if self.inputs is None else self.inputs.to(device),
            head=self.head,
        )


@dataclass(frozen=True)
class LabelSpace:
    """The classes of a task, in the order of their integer ids.

    Args:
        names: one name for each class.

    Raises:
        InvalidArgumentError: if there is no name, or a name occurs twice.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise InvalidArgumentError("`names` of a label space must hold at least one class, got none.")
        counts = Counter(self.names)
        repeated = sorted(name for name, count in counts.items() if count > 1)
        if repeated:
            raise InvalidArgumentError(
                f"Label names must differ from each other, but {repeated[0]!r} occurs {counts[repeated[0]]} "
                "times. Rename or merge these classes."
            )

    def __len__(self) -> int:
        """Number of classes."""
        return len(self.names)

    @property
    def informative(self) -> bool:
        """Whether the names describe the classes; `LABEL_0`, `class_3` and bare numbers do not."""
        return not all(re.fullmatch(r"(label|class)?[\s_-]*\d+", name.strip().lower()) for name in self.names)

    @classmethod
    def from_id2label(cls, id2label: Mapping[int, str] | Mapping[str, str] | None) -> "LabelSpace":
        """From a model configuration's `id2label`; a repeated name gets its id as a suffix.

        Raises:
            InvalidArgumentError: if it is None.
        """
        if id2label is None:
            raise InvalidArgumentError("`id2label` must name the model's classes, got None. Set it in its config.")
        by_id = {int(key): str(name) for key, name in id2label.items()}
        return cls.of(by_id[key] for key in sorted(by_id))

    @classmethod
    def of(cls, names: Iterable[str]) -> "LabelSpace":
        """From names that may repeat, as in many published models; each repetition gets its id as a suffix.

        A name that reads like one with a suffix is told apart from it by another: `a`, `a (2)`, `a` become `a`, `a (2)`
        and `a (2) (2)`.
        """
        seen: set[str] = set()
        unique = []
        for index, name in enumerate(names):
            while name in seen:
                name = f"{name} ({index})"
            unique.append(name)
            seen.add(name)
        return cls(tuple(unique))


@runtime_checkable
class RowOutputs(Protocol):
    """Outputs of one model over all rows of a data set, in memory (`ModelOutputs`) or on disk, read in parts."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of rows."""

    @abstractmethod
    def select(self, rows: Tensor) -> ModelOutputs:
        """The outputs of some rows, by index or mask, on the CPU."""

    def chunks(self, size: int) -> Iterator[tuple[slice, ModelOutputs]]:
        """The outputs in order, `size` rows at a time, each with its slice of rows."""
        for start in range(0, len(self), size):
            rows = slice(start, min(start + size, len(self)))
            yield rows, self.select(torch.arange(rows.start, rows.stop))


@dataclass(frozen=True, eq=False)
class LossContext:
    """What a loss may read before the optimiser is built: labels, widths, label spaces and outputs as far as it needs.

    Args:
        labels: `[rows]` of all training rows, -100 for a row without one; empty for dense tasks.
        label_space: classes of the target.
        student: outputs of the untrained student on a few rows, to read widths and grids from.
        teachers: outputs of each teacher; over *all* training rows, in the order of `labels`, when the loss needs
            `Needs.FIT`. They may lie on disk: read some rows by `select`, all rows by `chunks`.
        teacher_label_spaces: classes of each teacher; None for a headless encoder.
        seed: of anything random in the fitting.
        inputs: the student's input for all training rows as plain features, in the order of `labels`, when the loss
            needs `Needs.INPUT`; read in parts like the outputs of a teacher.
        targets: labels of all training rows as numbers, one for each output of the student, NaN in rows without a
            label, when the loss needs `Needs.TARGETS`.
        student_rows: outputs of the untrained student over all training rows, in the order of `labels`; None outside a
            trainer. The student runs when rows are read: read in `setup` alone, and only the rows that are needed. For
            a loss with `Needs.STUDENT` its features are computed once, with `Needs.LAYERS` its pooled layers too, and
            can be read as often as needed.
        steps: optimiser steps of the training that is planned; None where that is not known.
        times_read: how often an epoch reads each training row: beside a loss that does not teach labels, labelled rows
            may be repeated. None where each is read once.
    """

    labels: Int[Tensor, " rows"]
    label_space: LabelSpace
    student: ModelOutputs
    teachers: tuple[RowOutputs, ...] = ()
    teacher_label_spaces: tuple[LabelSpace | None, ...] = ()
    seed: int = 0
    inputs: RowOutputs | None = None
    targets: Float[Tensor, "rows outputs"] | None = None
    student_rows: RowOutputs | None = None
    steps: int | None = None
    times_read: Int[Tensor, " rows"] | None = None
