"""Rows to evaluate on: a part held out of the training rows, and rows that stand in both."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import train_test_split

from hf_ctkd.data.rows import TargetRows
from hf_ctkd.errors import DatasetError, InvalidArgumentError

_MOST_HELD_OUT = 2000
"""More rows narrow the interval of an accuracy to less than 2 points either way, but cost labels."""
_FEWEST_LABELLED = 10
_LARGEST_SHARE = 0.5
_KEPT_ROWS_A_CLASS = 2
"""So many labelled rows of each class stay, as estimates are cross-fitted over two."""
_ORDERED_SHARE = 0.1
"""Rows stand in class order where the class changes less often than this share of what chance would give."""


@dataclass(frozen=True)
class Overlap:
    """Evaluation rows whose input is that of a training row as well.

    Args:
        count: number of these evaluation rows.
        evaluation_row: index of the first one in its data set.
        training_row: index of a training row with the same input in its data set.
    """

    count: int
    evaluation_row: int
    training_row: int

    def __str__(self) -> str:
        """The number and the example in a sentence without its end."""
        rows = (
            "1 evaluation row is a training row"
            if self.count == 1
            else f"{self.count} evaluation rows are training rows"
        )
        return f"{rows} too, such as evaluation row {self.evaluation_row}, which is training row {self.training_row}"


def overlap(train: TargetRows, evaluation: TargetRows) -> Overlap | None:
    """Rows that stand in both, whatever their labels; None without any.

    Args:
        train: the training rows.
        evaluation: the evaluation rows.
    """
    trained = {digest: row for row, digest in reversed(list(enumerate(train.digests)))}
    both = [(row, trained[digest]) for row, digest in enumerate(evaluation.digests) if digest in trained]
    if not both:
        return None
    evaluation_row, training_row = both[0]
    return Overlap(len(both), int(evaluation.origin[evaluation_row]), int(train.origin[training_row]))


def held_out_rows(rows: TargetRows, labelled: Sequence[int], *, share: float, seed: int, stratify: bool) -> list[int]:
    """Indices of labelled rows to evaluate on, which are then not to be trained on; none where there are too few.

    No row is chosen whose input occurs twice, and two labelled rows of every class stay.

    Args:
        rows: the training rows.
        labelled: indices of the rows with a label.
        share: of these rows, in (0, 0.5]; at most 2,000 are chosen.
        seed: of the draw.
        stratify: whether `rows.labels` holds classes, each of which is to keep its share.

    Raises:
        InvalidArgumentError: if the share is out of range.
    """
    if not 0 < share <= _LARGEST_SHARE:
        raise InvalidArgumentError(f"`share` must lie in (0, {_LARGEST_SHARE}], got {share}.")
    if len(labelled) < _FEWEST_LABELLED:
        return []
    occurrences = Counter(rows.digests)
    candidates = [row for row in labelled if occurrences[rows.digests[row]] == 1]
    classes = rows.labels[candidates].tolist() if stratify else [0] * len(candidates)
    sizes = Counter(classes)
    large = {label for label, size in sizes.items() if size - math.ceil(size * share) >= _KEPT_ROWS_A_CLASS}
    pairs = [(row, label) for row, label in zip(candidates, classes, strict=True) if label in large]
    if not pairs:
        return []
    count = min(max(round(share * len(pairs)), len(large)), max(_MOST_HELD_OUT, len(large)))
    chosen, labels = zip(*pairs, strict=True)
    _, held_out = train_test_split(
        np.array(chosen), test_size=count, random_state=seed, stratify=labels if stratify else None
    )
    return sorted(held_out.tolist())


def in_class_order(labels: Sequence[object]) -> bool:
    """Whether rows stand one class after another, so that the first of them are of few classes.

    Args:
        labels: of all rows, in their order.
    """
    counts = Counter(map(str, labels))
    shares = [count / len(labels) for count in counts.values()]
    expected = len(labels) * (1 - sum(share**2 for share in shares))
    changes = sum(before != after for before, after in zip(labels, labels[1:], strict=False))
    return len(counts) > 1 and changes < max(_ORDERED_SHARE * expected, len(counts))


def require_no_overlap(train: TargetRows, evaluation: TargetRows, remedy: str) -> None:
    """Refuse evaluation rows that are training rows too.

    Args:
        train: the training rows.
        evaluation: the evaluation rows.
        remedy: what to do, as a sentence.

    Raises:
        DatasetError: with their number and an example.
    """
    both = overlap(train, evaluation)
    if both is not None:
        raise DatasetError(f"{both}. {remedy}")
