import ot
import pytest
import torch

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.metrics import FOTCE, OTCE
from hf_ctkd.ot import CloudSinkhorn
from hf_ctkd.types import ModelOutputs

GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.arange(24) % 2
SOURCE = ModelOutputs(torch.randn(24, 4, generator=GENERATOR) + 2 * torch.eye(2, 4)[LABELS])
TARGET = ModelOutputs(torch.randn(24, 4, generator=GENERATOR) + 2 * torch.eye(2, 4)[LABELS])


def test_adds_the_cost_of_the_plan():
    cost = ot.dist(SOURCE.features.double().numpy(), TARGET.features.double().numpy())
    plan = ot.sinkhorn([], [], cost, 0.05 * cost.max(), stopThr=1e-12)
    centred = TARGET.features.double() - TARGET.features.double().mean(0)
    scale = float(centred.square().sum(1).mean())
    metric = OTCE(SOURCE, LABELS, solver=CloudSinkhorn(tolerance=1e-8), domain_weight=1.0, task_weight=0.0)
    assert -metric.score(TARGET, LABELS) == pytest.approx((plan * cost).sum() / scale)


def test_is_fotce_where_the_domain_weighs_nothing_and_falls_with_distance():
    task = OTCE(SOURCE, LABELS, domain_weight=0.0, task_weight=1.0).score(TARGET, LABELS)
    assert task == pytest.approx(FOTCE(SOURCE, LABELS).score(TARGET, LABELS))
    both = OTCE(SOURCE, LABELS, domain_weight=0.5, task_weight=1.0)
    far = ModelOutputs(TARGET.features + 5)
    assert both.score(far, LABELS) < both.score(TARGET, LABELS) < task


def test_bad_input_is_named():
    with pytest.raises(InvalidArgumentError, match="`domain_weight` must not be negative, got -1.0"):
        OTCE(SOURCE, LABELS, domain_weight=-1.0, task_weight=1.0)
