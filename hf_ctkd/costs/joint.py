"""How teacher classes and target classes go together on labelled rows, and how much that says about the labels."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.probes.labelled import check_labels
from hf_ctkd.types import UNLABELLED


def joint(
    probabilities: Float[Tensor, "rows teacher_classes"], labels: Int[Tensor, " rows"], classes: int
) -> Float[Tensor, "target_classes teacher_classes"]:
    """`J[v, u]`, the mean over labelled rows of `1[y = v] p[u]`; it sums to one.

    Args:
        probabilities: the teacher's predictions, each row summing to one.
        labels: target labels; rows with -100 are ignored.
        classes: number of target classes.

    Raises:
        DatasetError: if no row is labelled or a label is out of range.
    """
    probabilities, labels = _labelled(probabilities, labels, classes)
    table = torch.zeros(classes, probabilities.shape[1], dtype=torch.float64)
    return table.index_add_(0, labels, probabilities) / len(labels)


def relatedness(
    probabilities: Float[Tensor, "rows teacher_classes"],
    labels: Int[Tensor, " rows"],
    classes: int,
    *,
    smoothing: float = 1.0,
) -> float:
    """How much of the labels' uncertainty the teacher's predictions remove on rows left out, in [0, 1].

    Every row is predicted by the label map `sum_u p[u] P(v | u)` estimated without that row, shrunk towards a class
    prior estimated without it as well. The result is one minus the ratio of the two held-out code lengths, clipped at
    zero: an unrelated teacher gets about zero even with few rows, where mutual information over the same rows would
    flatter it. Leaving one row out is exact and needs one pass.

    Args:
        probabilities: the teacher's predictions, each row summing to one.
        labels: target labels; rows with -100 are ignored.
        classes: number of target classes.
        smoothing: weight of the class prior in `P(v | u)`, in rows, positive.

    Raises:
        DatasetError: if no row is labelled or a label is out of range.
        InvalidArgumentError: if `smoothing` is not positive.

    Example:
        >>> import torch
        >>> labels = torch.arange(4).repeat(25)
        >>> round(relatedness(torch.eye(4)[labels], labels, 4), 2)
        0.98
        >>> relatedness(torch.full((100, 4), 0.25), labels, 4)
        0.0
    """
    if smoothing <= 0:
        raise InvalidArgumentError(f"`smoothing` must be positive, got {smoothing}.")
    probabilities, labels = _labelled(probabilities, labels, classes)
    rows = len(labels)
    if rows < 2:
        return 0.0
    counts = torch.bincount(labels, minlength=classes).double()
    table = torch.zeros(classes, probabilities.shape[1], dtype=torch.float64).index_add_(0, labels, probabilities)
    prior = (counts[labels] - 1 + 0.5) / (rows - 1 + 0.5 * classes)
    agreeing = table[labels] - probabilities + smoothing * prior[:, None]
    all_others = table.sum(dim=0) - probabilities + smoothing
    predicted = (probabilities * agreeing / all_others).sum(dim=1)
    gain = 1 - float(predicted.clamp_min(1e-12).log().sum() / prior.log().sum())
    return min(max(gain, 0.0), 1.0)


def _labelled(
    probabilities: Float[Tensor, "rows teacher_classes"], labels: Int[Tensor, " rows"], classes: int
) -> tuple[Float[Tensor, "labelled teacher_classes"], Int[Tensor, " labelled"]]:
    rows = (labels != UNLABELLED).nonzero().squeeze(1)
    chosen = labels[rows].cpu().long()
    check_labels(chosen, classes)
    return probabilities[rows].detach().cpu().double(), chosen
