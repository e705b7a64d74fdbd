import dataclasses
import inspect
import sys

import pytest

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.metrics import LEEP, InformationGain, TransportScore
from hf_ctkd.selection import metric_names
from hf_ctkd.selection.scores import BESIDE, chosen_metrics


def test_the_one_that_orders_comes_first_and_each_name_once():
    names = [metric.name for metric in chosen_metrics("leep", None)]
    assert names == ["leep", "information_gain", "transport_empirical", "transport_prototype", "nearest_neighbour"]
    assert chosen_metrics(LEEP(), ()) == (LEEP(),)
    assert chosen_metrics(TransportScore(folds=3), None)[0].folds == 3
    assert len(chosen_metrics(TransportScore(folds=3), None)) == len(BESIDE)


def test_every_name_can_be_given():
    assert {"leep", "information_gain", "nearest_neighbour", "transport_prototype"} <= set(metric_names())
    for name in metric_names():
        assert chosen_metrics(name, ())[0].name == name


def test_a_metric_made_for_one_teacher_cannot_be_had_by_name():
    assert {"nleep", "transrate", "gbc", "sfda", "parc", "pactran"} <= set(metric_names())
    with pytest.raises(InvalidArgumentError, match="`metric` 'fotce' is no metric: choose one of"):
        chosen_metrics("fotce", None)


def test_a_class_of_ones_own_by_its_path(tmp_path, monkeypatch):
    (tmp_path / "of_mine.py").write_text(
        "from hf_ctkd.metrics import LEEP\nclass Mine(LEEP):\n    name = 'mine'\nx = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert chosen_metrics("of_mine:Mine", ())[0].name == "mine"
    with pytest.raises(InvalidArgumentError, match="'of_mine:x' is no TransferabilityMetric"):
        chosen_metrics("of_mine:x", ())
    with pytest.raises(InvalidArgumentError, match="`metrics` 'of_mine:Yours' cannot be imported"):
        chosen_metrics("leep", ("of_mine:Yours",))
    sys.modules.pop("of_mine")


def test_what_is_no_metric():
    with pytest.raises(InvalidArgumentError, match="`metric` 'luck' is no metric: choose one of .*leep"):
        chosen_metrics("luck", None)
    with pytest.raises(InvalidArgumentError, match="`metrics` holds two different scores named 'information_gain'"):
        other = InformationGain(probe=dataclasses.replace(InformationGain().probe, folds=2))
        chosen_metrics(InformationGain(), (other,))


@pytest.mark.parametrize("single", ["leep", LEEP()])
def test_metrics_are_a_list(single):
    with pytest.raises(InvalidArgumentError, match="`metrics` must be a list, got .* alone. Put it into a list."):
        inspect.unwrap(chosen_metrics)("information_gain", single)
