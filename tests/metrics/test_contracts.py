import doctest
import sys

import pytest
import torch

from hf_ctkd import metrics
from hf_ctkd.costs import PrototypeCost
from hf_ctkd.testing import check_metric
from hf_ctkd.testing.metrics import example
from hf_ctkd.types import ModelOutputs

ALL = [getattr(metrics, name) for name in metrics.__all__ if name != "TransferabilityMetric"]


def fotce(factor=1.0):
    source, labels = example(2.0, seed=5)
    return metrics.FOTCE(ModelOutputs(factor * source.features), labels)


def otce(factor=1.0):
    source, labels = example(2.0, seed=5)
    return metrics.OTCE(ModelOutputs(factor * source.features), labels, domain_weight=0.1, task_weight=1.0)


OF_SOURCE = [fotce(), otce()]
ALONE = [kind() for kind in ALL if kind not in {metrics.FOTCE, metrics.OTCE}]
EVERY = [*ALONE, metrics.TransportScore(PrototypeCost()), metrics.GBC(spherical=False), *OF_SOURCE]
BLIND_TO_SCALE = (metrics.TransRate(), metrics.GBC(), metrics.GBC(spherical=False), metrics.SFDA(), metrics.HScore())
BLIND_TO_SCALE = (*BLIND_TO_SCALE, metrics.NLEEP(), metrics.PACTran())
BLIND_TO_ROTATION = (*BLIND_TO_SCALE[:5], metrics.LogME())


@pytest.mark.parametrize("metric", EVERY, ids=lambda metric: type(metric).__name__)
def test_every_metric_holds_the_contract(metric):
    check_metric(metric, in_unit={metrics.FOTCE: fotce, metrics.OTCE: otce}.get(type(metric)))


@pytest.mark.parametrize("kind", ALL)
def test_examples_in_docstrings_run(kind):
    result = doctest.testmod(sys.modules[kind.__module__])
    assert result.attempted > 0 and result.failed == 0


def test_names_differ():
    names = [metric.name for metric in (*ALONE, *OF_SOURCE)]
    assert len(set(names)) == len(names) == len(ALL)


@pytest.mark.parametrize("metric", BLIND_TO_SCALE, ids=lambda metric: type(metric).__name__)
def test_scale_and_origin_of_features_say_nothing(metric):
    outputs, labels = example(1.5)
    moved = ModelOutputs(1000 * outputs.features.double() + 7)
    expected = metric.score(ModelOutputs(outputs.features.double()), labels)
    assert metric.score(moved, labels) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("metric", BLIND_TO_ROTATION, ids=lambda metric: type(metric).__name__)
def test_rotation_of_features_says_nothing(metric):
    outputs, labels = example(1.5)
    features = outputs.features.double()
    turn, _ = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(3), dtype=torch.float64))
    expected = metric.score(ModelOutputs(features), labels)
    assert metric.score(ModelOutputs(features @ turn), labels) == pytest.approx(expected, rel=1e-6)
