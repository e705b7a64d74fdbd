"""The labelled part of a model's outputs, checked for every cost and metric."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.types import UNLABELLED, ModelOutputs, Needs, RowOutputs

MAX_FITTING_ROWS = 10_000
"""Rows that probes and label costs are fitted to at most: a linear probe learns almost nothing from more."""
CHUNK_ROWS = 1024
"""Rows of a teacher's outputs that are read at a time where all rows are read."""


def check_outputs(outputs: ModelOutputs, needs: Needs) -> None:
    """Raise when outputs lack what is needed or hold values that are no finite numbers.

    Args:
        outputs: a model's outputs.
        needs: what the caller is going to read.

    Raises:
        InvalidArgumentError: on missing logits, or NaN or infinite values.
    """
    if Needs.LOGITS in needs:
        logits_of(outputs)
    layers = [(f"layers[{index}]", layer) for index, layer in enumerate(outputs.layers)]
    for name, values in (("features", outputs.features), ("logits", outputs.logits), *layers):
        if values is not None and not bool(torch.isfinite(values).all()):
            row = int((~torch.isfinite(values).all(dim=1)).nonzero()[0])
            raise InvalidArgumentError(
                f"`{name}` must be finite, but row {row} holds NaN or infinity. Check the weights and precision."
            )


def logits_of(outputs: ModelOutputs) -> Float[Tensor, "rows classes"]:
    """The logits of a model that must have a head.

    Args:
        outputs: the model's outputs.

    Raises:
        InvalidArgumentError: if it has none.
    """
    if outputs.logits is None:
        raise InvalidArgumentError(
            "`outputs` has no logits, as its model has no head. Use a method that reads features, or another model."
        )
    return outputs.logits


def labelled_rows(
    outputs: ModelOutputs, labels: Int[Tensor, " rows"], *, needs: Needs = Needs.NOTHING, n_classes: int | None = None
) -> tuple[ModelOutputs, Int[Tensor, " labelled"]]:
    """The rows that have a label, on the CPU, after checking that they can be used.

    Args:
        outputs: a model's outputs, one row a label.
        labels: class ids, `UNLABELLED` (-100) for a row without one.
        needs: what the caller is going to read.
        n_classes: number of classes, when known; ids must lie below it.

    Returns:
        The outputs of the labelled rows and their labels.

    Raises:
        InvalidArgumentError: if numbers of rows differ, logits are missing, or values are not finite.
        DatasetError: if no row is labelled or a label is out of range.
    """
    if len(outputs) != len(labels):
        raise InvalidArgumentError(
            f"`labels` must have one entry a row of `outputs`, got {len(labels)} labels for {len(outputs)} rows."
        )
    labels = labels.cpu().long()
    rows = (labels != UNLABELLED).nonzero().squeeze(1)
    chosen = outputs.to("cpu").select(rows)
    check_outputs(chosen, needs)
    labels = labels[rows]
    check_labels(labels, n_classes)
    return chosen, labels


def check_labels(labels: Int[Tensor, " labelled"], n_classes: int | None = None) -> None:
    """Raise when there is no label, or one lies outside `[0, n_classes)`.

    Args:
        labels: class ids of labelled rows.
        n_classes: number of classes, when known.

    Raises:
        DatasetError: naming the label.
    """
    if not len(labels):
        raise DatasetError("No row has a label (all are -100). Label a few rows of every class.")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or (n_classes is not None and high >= n_classes):
        upper = "" if n_classes is None else f" and below {n_classes}"
        raise DatasetError(
            f"Labels must be at least 0{upper}, or -100 for a row without one, got {low if low < 0 else high}. "
            "Map them to consecutive class ids."
        )


def fitting_rows(labels: Int[Tensor, " rows"], seed: int, *, unlabelled: bool = False) -> Int[Tensor, " fitted"]:
    """Indices of at most `MAX_FITTING_ROWS` rows to fit to, in ascending order: labelled ones first.

    Where not all labelled rows fit in, two rows of every class are taken before a random part of the others, as
    cross-fitting needs two.

    Args:
        labels: class ids, `UNLABELLED` for a row without one.
        seed: of the random part.
        unlabelled: whether a random part of the unlabelled rows fills what is left.
    """
    labels = labels.cpu()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    rows = order[labels[order] != UNLABELLED]
    if len(rows) > MAX_FITTING_ROWS:
        by_class = rows[labels[rows].argsort(stable=True)]
        first_of_class = torch.searchsorted(labels[by_class], labels[by_class])
        in_pair = torch.arange(len(by_class)) - first_of_class < 2
        shuffled = torch.randperm(int((~in_pair).sum()), generator=torch.Generator().manual_seed(seed))
        rows = torch.cat([by_class[in_pair], by_class[~in_pair][shuffled]])
    elif unlabelled:
        rows = torch.cat([rows, order[labels[order] == UNLABELLED]])
    return rows[:MAX_FITTING_ROWS].sort().values


def check_all_rows(teachers: Sequence[RowOutputs], labels: Int[Tensor, " rows"]) -> None:
    """Raise when a teacher has outputs of more or fewer rows than there are labels.

    Args:
        teachers: outputs of each over all rows.
        labels: of all rows.

    Raises:
        InvalidArgumentError: naming the teacher by its index.
    """
    for index, teacher in enumerate(teachers):
        if len(teacher) != len(labels):
            raise InvalidArgumentError(
                f"`labels` must have one entry a row of the teachers' outputs, got {len(labels)} labels for "
                f"{len(teacher)} rows of teacher {index}. Run the teacher on all rows."
            )
