"""The labelled part of a model's outputs, checked for every cost and metric, and folds that follow from content."""

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
    layers = [(f"layers[{place}]", layer) for place, layer in enumerate(outputs.layers)]
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
        DatasetError: as said.
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


def content_order(
    values: Float[Tensor, "rows width"], labels: Int[Tensor, " rows"], seed: int = 0
) -> Int[Tensor, " rows"]:
    """An order of rows that follows from their content: shuffling rows or renaming classes leaves it as it was.

    Rows of a class stand together, classes by their first row; within a class, by one random projection.

    Args:
        values: one vector a row.
        labels: class ids, no row unlabelled.
        seed: of the projection; another seed gives another order.
    """
    direction = torch.randn(values.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    key = (values.double() * direction).sum(dim=1)
    by_key = torch.argsort(key, stable=True)
    rank = torch.empty_like(by_key)
    rank[by_key] = torch.arange(len(by_key))
    first = torch.full((int(labels.max()) + 1,), len(rank)).scatter_reduce(0, labels, rank, "amin")
    return torch.argsort(first[labels] * len(rank) + rank, stable=True)


def row_groups(values: Float[Tensor, "rows width"], labels: Int[Tensor, " rows"]) -> Int[Tensor, " rows"]:
    """Group of every row: rows of a class with equal values are one row that stands there several times.

    Whatever judges rows by others has to leave out the whole group, or a copy gives the answer away. Where all rows of
    a class are equal each is a group of its own, since without its group nothing would be known of the class.

    Args:
        values: one vector a row.
        labels: class ids, no row unlabelled.
    """
    same = torch.unique(values, dim=0, return_inverse=True)[1]
    different, groups = torch.unique(torch.stack([labels, same], dim=1), dim=0, return_inverse=True)
    alone = torch.bincount(different[:, 0])[labels] == 1
    return torch.unique(torch.where(alone, len(labels) + torch.arange(len(labels)), groups), return_inverse=True)[1]


def deal_folds(
    values: Float[Tensor, "rows width"],
    labels: Int[Tensor, " rows"],
    folds: int,
    seed: int = 0,
    *,
    groups: Int[Tensor, " rows"] | None = None,
) -> Int[Tensor, " rows"]:
    """Fold of every row, stratified by class: groups of equal rows, in content order, are dealt like cards.

    Args:
        values: one vector a row.
        labels: class ids, no row unlabelled.
        folds: at least 2; fewer are used when there are fewer groups.
        seed: of the content order.
        groups: rows of one group stay together; `row_groups` of the values when None.
    """
    groups = row_groups(values, labels) if groups is None else groups
    order = content_order(values, labels, seed)
    count = int(groups.max()) + 1
    first = torch.full((count,), len(order)).scatter_reduce(0, groups[order], torch.arange(len(order)), "amin")
    turn = torch.empty_like(first)
    turn[first.argsort()] = torch.arange(count)
    return turn[groups] % min(folds, count)


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
