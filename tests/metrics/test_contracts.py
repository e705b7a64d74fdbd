import doctest
import sys

import pytest

from hf_ctkd import metrics
from hf_ctkd.costs import PrototypeCost

ALL = [getattr(metrics, name) for name in metrics.__all__ if name != "TransferabilityMetric"]


@pytest.mark.parametrize("metric", [kind() for kind in ALL] + [metrics.TransportScore(PrototypeCost())], ids=str)
def test_every_metric_holds_the_contract(metric, contracts):
    contracts.check_metric(metric)


@pytest.mark.parametrize("kind", ALL)
def test_examples_in_docstrings_run(kind):
    result = doctest.testmod(sys.modules[kind.__module__])
    assert result.attempted > 0 and result.failed == 0


def test_names_differ():
    names = [kind().name for kind in ALL]
    assert len(set(names)) == len(names)
