"""The class prior: how often each target class occurs, estimated from a few labels."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.probes.labelled import check_labels
from hf_ctkd.types import UNLABELLED


def estimate_prior(labels: Int[Tensor, " rows"], n_classes: int) -> Float[Tensor, " classes"]:
    """Class shares from labelled counts, shrunk towards equal shares as far as the counts allow.

    Counts that chance alone explains give equal shares; clearly unequal counts are kept. A class that no row shows
    keeps a small share. Use it where the labelled rows were drawn as the task's rows are; where they were picked
    class by class, their counts say nothing of the task.

    Args:
        labels: class ids; rows with -100 are ignored.
        n_classes: number of classes.

    Raises:
        DatasetError: if no row is labelled or a label is out of range.

    Reference:
        After Hausser and Strimmer, "Entropy inference and the James-Stein estimator", arXiv:0811.3579.

    Example:
        >>> import torch
        >>> estimate_prior(torch.tensor([0, 0, 1, -100, 1, 1]), 2)
        tensor([0.5000, 0.5000])
        >>> estimate_prior(torch.tensor([0] * 90 + [1] * 10), 2).round(decimals=2)
        tensor([0.9000, 0.1000])
    """
    chosen = labels[labels != UNLABELLED].cpu().long()
    check_labels(chosen, n_classes)
    rows = len(chosen)
    shares = torch.bincount(chosen, minlength=n_classes).double() / rows
    distance = float((shares - 1 / n_classes).square().sum())
    noise = (1 - float(shares.square().sum())) / max(rows - 1, 1)
    shrinkage = 1.0 if noise >= distance else noise / distance
    # Shares that are all one class have no estimated noise, yet the others must keep some mass.
    shrinkage = max(shrinkage, 1 / (rows + 1))
    prior = (1 - shrinkage) * shares + shrinkage / n_classes
    return prior.float()
