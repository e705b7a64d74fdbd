"""The contract of metrics notices one that is broken."""

from dataclasses import dataclass

import pytest
import torch

from hf_ctkd.metrics import LEEP, HScore
from hf_ctkd.testing import check_metric
from hf_ctkd.types import ModelOutputs, Needs


@dataclass(frozen=True)
class Nameless(HScore):
    name = ""


@dataclass(frozen=True)
class NotFinite(HScore):
    def of_rows(self, outputs, labels):
        return float("nan")


@dataclass(frozen=True)
class Restless(HScore):
    def of_rows(self, outputs, labels):
        return super().of_rows(outputs, labels) + float(torch.rand(()))


@dataclass(frozen=True)
class FirstRow(HScore):
    def score(self, outputs, labels):
        return super().score(outputs, labels) + float(outputs.features[0, 0])


@dataclass(frozen=True)
class ReadsNumbers(HScore):
    def score(self, outputs, labels):
        return super().score(outputs, labels) + float(labels[labels >= 0].double().mean())


@dataclass(frozen=True)
class ReadsUnlabelled(HScore):
    def score(self, outputs, labels):
        return super().score(outputs, labels) + 0.01 * float((labels == -100).sum())


@dataclass(frozen=True)
class ReadsLength(HScore):
    def of_rows(self, outputs, labels):
        return super().of_rows(outputs, labels) + 0.01 * float(outputs.features.abs().mean())


@dataclass(frozen=True)
class LosesPrecision(HScore):
    def score(self, outputs, labels):
        rows = torch.nn.functional.normalize(outputs.features[labels != -100], dim=1)
        return super().score(outputs, labels) + float((rows.T @ rows)[0, 0])


@dataclass(frozen=True)
class UpsideDown(HScore):
    def of_rows(self, outputs, labels):
        return -super().of_rows(outputs, labels)


@dataclass(frozen=True)
class Credulous(HScore):
    """Takes outputs that are no numbers."""

    def score(self, outputs, labels):
        return super().score(ModelOutputs(outputs.features.nan_to_num()), labels)


@dataclass(frozen=True)
class NeedsMoreThanItSays(LEEP):
    needs = Needs.FEATURES

    def of_rows(self, outputs, labels):
        return float("inf") if outputs.logits is None else super().of_rows(outputs, labels)


@pytest.mark.parametrize(
    ("metric", "promise"),
    [
        (Nameless(), "`name`, `citation` and `needs` must be set"),
        (NotFinite(), "the score must be a finite float"),
        (Restless(), "not deterministic"),
        (FirstRow(), "depends on the order of rows"),
        (ReadsNumbers(), "depends on the names of classes"),
        (ReadsUnlabelled(), "reads unlabelled rows"),
        (ReadsLength(), "depends on the unit of the features"),
        (LosesPrecision(), "depends on autocast to torch.bfloat16"),
        (UpsideDown(), "separation does not pay"),
        (Credulous(), "no InvalidArgumentError about 'finite'"),
        (NeedsMoreThanItSays(), "a headless teacher must get a finite score"),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
)
def test_a_broken_metric_is_noticed(metric, promise):
    with pytest.raises(AssertionError, match=promise):
        check_metric(metric)
