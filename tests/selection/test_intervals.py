import numpy as np
import pytest
import torch

from hf_ctkd.metrics import LEEP, InformationGain
from hf_ctkd.selection.intervals import count_tied, interval_of
from hf_ctkd.types import ModelOutputs


def draws(rows, classes, count=1, *, spread=1.0):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(rows) % classes
    return labels, labels + spread * torch.randn(count, rows, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("rows", "classes"), [(400, 4), (200, 100)], ids=["large classes", "two rows a class"])
def test_the_interval_has_the_width_of_the_mean_of_other_rows(rows, classes):
    labels, values = draws(rows, classes, 60)
    widths = [high - low for low, high in (interval_of(drawn, labels) for drawn in values)]
    # Means differ within classes alone, by 1 / sqrt(rows): the interval reaches 1.96 of it to either side. The mean
    # width of 60 intervals is known to about 1 %, and a bootstrap of n of n rows would give 0.71 of it for two rows.
    assert np.mean(widths) == pytest.approx(2 * 1.96 / rows**0.5, rel=0.06)


def test_rows_that_are_not_judged_are_left_out():
    labels, (values,) = draws(100, 2)
    some = torch.cat([values, torch.full((50,), torch.nan)])
    assert interval_of(some, torch.cat([labels, torch.full((50,), -100)])) == interval_of(values, labels)


def test_teachers_are_compared_on_the_same_rows():
    labels, (hard, noise) = draws(400, 4, 2, spread=5.0)
    # Each has a wide interval, as rows differ much, but the second is worse on nearly every row.
    worse = hard - 0.2 + 0.1 * noise
    assert interval_of(worse, labels)[1] > interval_of(hard, labels)[0]
    assert count_tied([hard, worse], labels) == 1
    assert count_tied([hard, hard - 0.01 + 0.1 * noise, hard, worse, hard], labels) == 3
    assert count_tied([hard, None, hard], labels) == 1
    assert count_tied([None, hard], labels) is None and count_tied([], labels) is None


def test_values_of_rows_come_in_the_order_of_the_rows():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    features = 3 * torch.eye(3)[labels] + 0.1 * torch.randn(60, 3, generator=generator)
    features[7], labels[50] = features[8], -100  # a row that looks like one of another class, and one without a label
    for metric in (InformationGain(), LEEP()):
        values = metric.row_values(ModelOutputs(features, 4 * features), labels)
        assert int(values.nan_to_num(torch.inf).argmin()) == 7 and values.isnan().nonzero().tolist() == [[50]]
