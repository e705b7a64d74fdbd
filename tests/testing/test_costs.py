"""The contract of costs notices one that is broken."""

from dataclasses import dataclass

import pytest
import torch

from hf_ctkd.costs import LabelCost
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.testing import check_cost
from hf_ctkd.testing.costs import SHOWN_AS
from hf_ctkd.types import UNLABELLED, Needs

RIGHT = torch.ones(4, 3)
RIGHT[SHOWN_AS, range(3)] = 0.0


def test_a_cost_that_reads_rows_keeps_it():
    check_cost(Counting())


@dataclass(frozen=True)
class Counting(LabelCost):
    """One minus the share of a target class's rows that the teacher takes for its own."""

    name = "counting"
    citation = "none"
    needs = Needs.LOGITS

    def matrix(self, outputs, labels, *, target, teacher=None):
        if outputs.logits is None:
            raise InvalidArgumentError("`outputs` has no logits.")
        known = labels != UNLABELLED
        shares = torch.nn.functional.one_hot(outputs.logits[known].argmax(1), outputs.logits.shape[1]).float()
        belongs = torch.nn.functional.one_hot(labels[known], len(target)).float()
        return 1 - shares.T @ belongs / belongs.sum(0)


class Fixed(Counting):
    """The right answer to the unchanged example, whatever is asked."""

    def matrix(self, outputs, labels, *, target, teacher=None):
        return RIGHT


class Negative(Counting):
    def matrix(self, outputs, labels, *, target, teacher=None):
        return super().matrix(outputs, labels, target=target, teacher=teacher) - 0.5


class Transposed(Counting):
    def matrix(self, outputs, labels, *, target, teacher=None):
        return super().matrix(outputs, labels, target=target, teacher=teacher).T


class Backwards(Counting):
    def matrix(self, outputs, labels, *, target, teacher=None):
        return 1 - super().matrix(outputs, labels, target=target, teacher=teacher)


class Restless(Counting):
    def matrix(self, outputs, labels, *, target, teacher=None):
        exact = super().matrix(outputs, labels, target=target, teacher=teacher)
        return (exact + 0.01 * torch.rand_like(exact)).clamp(0, 1)


class FirstRow(Counting):
    def matrix(self, outputs, labels, *, target, teacher=None):
        exact = super().matrix(outputs, labels, target=target, teacher=teacher)
        return (exact + 0.1 * outputs.features[0, 0].sigmoid()).clamp(0, 1)


class Unlabelled(Counting):
    def matrix(self, outputs, labels, *, target, teacher=None):
        exact = super().matrix(outputs, labels, target=target, teacher=teacher)
        return (exact + 1e-3 * outputs.features[labels == UNLABELLED].abs().mean()).clamp(0, 1)


@dataclass(frozen=True)
class Careless(Counting):
    def matrix(self, outputs, labels, *, target, teacher=None):
        if outputs.logits is None:
            return RIGHT
        return super().matrix(outputs, labels, target=target, teacher=teacher)


class Nameless(Counting):
    name = ""


class Changeable(Counting):
    """No frozen dataclass of its own."""


@pytest.mark.parametrize(
    ("cost", "promise"),
    [
        (Nameless(), "`name`, `citation` and `needs` must be set"),
        (Transposed(), r"must be \[teacher classes, target classes\]"),
        (Negative(), r"finite and in \[0, 1\]"),
        (Restless(), "not deterministic"),
        (Backwards(), "not nearest to its own counterpart"),
        (Fixed(), "does not follow a permutation of target classes"),
        (FirstRow(), "depends on the order of rows"),
        (Unlabelled(), "unlabelled rows must change nothing"),
        (Changeable(), "settings can be changed"),
        (Careless(), "no error for a teacher without logits"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, LabelCost) else "",
)
def test_a_broken_cost_is_noticed(cost, promise):
    with pytest.raises(AssertionError, match=promise):
        check_cost(cost)
