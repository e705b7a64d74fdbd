"""What every transferability metric offers, and what is checked before any of them looks at a row."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.errors import DatasetError
from hf_ctkd.ot.precision import full_products
from hf_ctkd.probes.folds import content_order
from hf_ctkd.probes.labelled import labelled_rows
from hf_ctkd.types import UNLABELLED, ModelOutputs, Needs


class TransferabilityMetric(ABC):
    """How well a teacher suits a target task, as one number: higher is better.

    Subclasses are frozen dataclasses that set `name`, `citation` and `needs` on the class and write `of_rows`. They see
    labelled rows only, in an order and under class numbers that follow from the rows' content: shuffling the rows or
    renaming the classes cannot change a score.
    """

    citation: ClassVar[str]
    """The paper that this follows, as a BibTeX entry; the docstring tells what differs from it."""
    needs: ClassVar[Needs]
    """What of the teacher it reads."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Short name for tables and logs; a plain attribute of the class where no setting is part of it."""

    def score(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> float:
        """The score of one teacher; comparable between teachers over the same rows only.

        Args:
            outputs: the teacher's outputs over target rows.
            labels: target labels of these rows; rows with -100 are ignored.

        Raises:
            DatasetError: if fewer than two classes are labelled.
            InvalidArgumentError: if logits are needed and missing, or outputs are not finite.
        """
        with torch.no_grad(), torch.autocast("cpu", enabled=False), full_products():
            return self.of_rows(*canonical(*labelled_rows(outputs, labels, needs=self.needs)))

    @abstractmethod
    def of_rows(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> float:
        """The score over labelled rows that were checked already.

        Args:
            outputs: in double precision, on the CPU, in canonical order.
            labels: from 0 to the number of classes less one, each occurring.
        """


class MeanOverRows(TransferabilityMetric):
    """A metric that is a mean over rows, so that its values on the rows tell how far it is from the score of all rows.

    Subclasses write `values_of_rows` in place of `of_rows`. Values of different teachers belong to the same rows, so
    that the difference of two scores has an interval too, which is narrower than those of the scores suggest.
    """

    def row_values(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """The value on each row, whose mean is the score.

        Args:
            outputs: as in `score`.
            labels: as in `score`.

        Returns:
            In the order of `labels`, NaN for rows that are not judged, such as those without a label.

        Raises:
            DatasetError: as `score`.
            InvalidArgumentError: as `score`.
        """
        with torch.no_grad(), torch.autocast("cpu", enabled=False), full_products():
            labelled, classes = labelled_rows(outputs, labels, needs=self.needs)
            order = content_order(content(labelled), classes)
            values = self.values_of_rows(*_in_order(labelled, classes, order))
        judged = (labels.cpu() != UNLABELLED).nonzero().squeeze(1)[order]
        return torch.full((len(labels),), torch.nan, dtype=torch.float64).index_copy(0, judged, values.double())

    @abstractmethod
    def values_of_rows(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """The value on each row, over labelled rows that were checked already; arguments as in `of_rows`."""

    def of_rows(self, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> float:
        """See `TransferabilityMetric.of_rows`."""
        return float(self.values_of_rows(outputs, labels).mean())


def canonical(outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> tuple[ModelOutputs, Int[Tensor, " rows"]]:
    """Labelled rows in an order, and under class numbers, that follow from their content.

    Args:
        outputs: a model's outputs over labelled rows.
        labels: class ids.

    Raises:
        DatasetError: if fewer than two classes occur.
    """
    return _in_order(outputs, labels, content_order(content(outputs), labels))


def _in_order(
    outputs: ModelOutputs, labels: Int[Tensor, " rows"], order: Int[Tensor, " rows"]
) -> tuple[ModelOutputs, Int[Tensor, " rows"]]:
    ordered = labels[order]
    starts = torch.ones_like(ordered, dtype=torch.bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    if int(starts.sum()) < 2:
        raise DatasetError("All labelled rows are of one class, but two are needed. Label rows of other classes too.")
    logits = None if outputs.logits is None else outputs.logits[order].double()
    layers = tuple(layer[order].double() for layer in outputs.layers)
    return ModelOutputs(outputs.features[order].double(), logits, layers=layers), starts.cumsum(dim=0) - 1


def content(outputs: ModelOutputs) -> Float[Tensor, "rows values"]:
    """Features and logits of every row side by side, each in the unit of their own mean square.

    Order and folds, which follow from the content of rows, then do not depend on the unit of the features.

    Args:
        outputs: a model's outputs.
    """
    parts = [outputs.features.double()] + ([] if outputs.logits is None else [outputs.logits.double()])
    units = [part.square().mean().sqrt().clamp_min(torch.finfo(part.dtype).tiny) for part in parts]
    return torch.cat([part / unit for part, unit in zip(parts, units, strict=True)], dim=1)


def log_likelihoods_of_map(
    probabilities: Float[Tensor, "rows clusters"], labels: Int[Tensor, " rows"]
) -> Float[Tensor, " rows"]:
    """Log of `sum_z p[z] P(y | z)`, with `P(y | z)` from the same rows: LEEP and its relatives take the mean.

    Args:
        probabilities: share of every row in every cluster (a teacher's class, or a mixture component).
        labels: class ids.
    """
    one_hot = torch.nn.functional.one_hot(labels).to(probabilities)
    together = one_hot.T @ probabilities
    conditional = together / together.sum(dim=0).clamp_min(1e-300)
    return (probabilities * conditional[labels]).sum(dim=1).clamp_min(1e-300).log()


def class_means(
    features: Float[Tensor, "rows width"], labels: Int[Tensor, " rows"]
) -> tuple[Float[Tensor, "classes width"], Float[Tensor, " classes"]]:
    """Mean feature and number of rows of every class.

    Args:
        features: one vector a row.
        labels: class ids from 0 on, each occurring.
    """
    one_hot = torch.nn.functional.one_hot(labels).to(features)
    counts = one_hot.sum(dim=0)
    return (one_hot.T @ features) / counts[:, None], counts


def principal_components(
    features: Float[Tensor, "rows width"], *, most: int | None = None, variance: float = 1.0
) -> Float[Tensor, "rows components"]:
    """Coordinates of the rows along the directions of largest variance, at least one.

    Each direction points to where its largest entry is positive, as in scikit-learn, so that the order of rows cannot
    turn it round.

    Args:
        features: one vector a row.
        most: most components; all that rows and width allow when None.
        variance: share of the variance that the components explain, in (0, 1].
    """
    centred = features - features.mean(dim=0)
    left, singular, right = torch.linalg.svd(centred, full_matrices=False)
    power = singular.square()
    explained = power.cumsum(dim=0) / power.sum().clamp_min(1e-300)
    # Rounding leaves the last sums a little below or above one.
    enough = int((explained < variance - 1e-12).sum()) + 1
    count = min(enough, len(singular) if most is None else most, len(singular))
    largest = right[:count].gather(1, right[:count].abs().argmax(dim=1, keepdim=True)).squeeze(1)
    return left[:, :count] * singular[:count] * torch.where(largest < 0, -1.0, 1.0)
