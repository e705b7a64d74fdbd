"""The sample of labelled rows on which teachers are scored."""

import torch
from jaxtyping import Int
from torch import Tensor

from hf_ctkd.data import TargetRows
from hf_ctkd.errors import InvalidArgumentError


def scoring_rows(rows: TargetRows, max_rows: int, seed: int) -> TargetRows:
    """The labelled rows, at most `max_rows`, classes in their proportions and each with at least two.

    Args:
        rows: all rows of the target.
        max_rows: at least two a class.
        seed: of the draw; the rows keep their order.

    Raises:
        InvalidArgumentError: if `max_rows` is under two a class.
        DatasetError: if a class has a single labelled row.
    """
    rows.require_two_rows_a_class()
    labelled = rows.labelled
    labels = rows.labels[labelled]
    present = int((torch.bincount(labels) > 0).sum())
    if max_rows < 2 * present:
        raise InvalidArgumentError(
            f"`max_rows` must be at least {2 * present}, two for each of {present} classes, got {max_rows}."
        )
    if len(labelled) <= max_rows:
        return rows.select(labelled.tolist())
    return rows.select(labelled[stratified(labels, max_rows, seed)].tolist())


def stratified(labels: Int[Tensor, " rows"], count: int, seed: int) -> Int[Tensor, " chosen"]:
    """Indices of `count` rows in ascending order, drawn so that every class keeps its share and at least two rows.

    Args:
        labels: class ids, at least two rows for each that occurs.
        count: at least two a class, at most all.
        seed: of the draw.
    """
    sizes = torch.bincount(labels)
    ideal = sizes.double() * count / len(labels)
    take = torch.minimum(ideal.floor().long().clamp_min(2), sizes)
    while int(take.sum()) != count:
        more = int(take.sum()) < count
        movable = take < sizes if more else take > 2
        gap = (ideal - take) if more else (take - ideal)
        take[int(torch.where(movable, gap, -torch.inf).argmax())] += 1 if more else -1
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    chosen = [order[labels[order] == label][: int(take[label])] for label in range(len(sizes))]
    return torch.cat(chosen).sort().values
