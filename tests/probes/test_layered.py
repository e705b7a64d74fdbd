import pytest
import torch

from hf_ctkd.errors import DatasetError
from hf_ctkd.probes import LinearProbe, fit_layers, gain_shares, log_mean, views
from hf_ctkd.types import LabelSpace, ModelOutputs


@pytest.fixture
def labels():
    labels = torch.arange(90) % 3
    labels[::9] = -100
    return labels


def outputs(signals, rows=90):
    """One view for each signal: how far apart the classes lie in it."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(rows) % 3
    made = [signal * torch.eye(3, 6)[truth] + torch.randn(rows, 6, generator=generator) for signal in signals]
    return ModelOutputs(made[-1], layers=tuple(made[:-1]))


def test_the_head_s_view_comes_after_the_layers():
    made = outputs([1.0, 2.0, 3.0])
    assert [view is part for view, part in zip(views(made), (*made.layers, made.features), strict=True)] == [True] * 3
    assert views(ModelOutputs(made.features)) == (made.features,)


def test_a_view_that_knows_more_has_the_larger_share(labels):
    found = fit_layers(LinearProbe(), outputs([4.0, 1.5, 0.0]), labels, 3)
    assert len(found.probes) == 3
    assert float(found.shares.sum()) == pytest.approx(1.0)
    assert found.shares[0] > found.shares[1] > found.shares[2] and found.shares[2] < 1e-3


def test_one_view_alone_gains_what_its_probe_does(labels):
    found = fit_layers(LinearProbe(), outputs([1.5]), labels, 3)
    # The probe keeps its cross-fitted posteriors in 32 bits.
    assert found.information_gain == pytest.approx(found.probes[0].information_gain, abs=1e-5)


def test_two_views_of_equal_use_gain_more_together(labels):
    found = fit_layers(LinearProbe(), outputs([1.5, 1.5]), labels, 3)
    assert found.information_gain > max(one.information_gain for one in found.probes) > 0


def test_views_that_say_nothing_gain_nothing(labels):
    found = fit_layers(LinearProbe(), outputs([0.0, 0.0]), labels, 3)
    assert abs(found.information_gain) < 0.05


def test_shares_follow_a_power_of_the_gains():
    torch.testing.assert_close(gain_shares(torch.tensor([0.4, 0.2]), 2.0), torch.tensor([0.8, 0.2]))
    torch.testing.assert_close(gain_shares(torch.tensor([0.4, 0.2]), 0.0), torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(gain_shares(torch.zeros(4), 4.0), torch.full((4,), 0.25))


def test_log_mean_is_the_normalised_geometric_mean():
    one, other = torch.tensor([[0.9, 0.1]]), torch.tensor([[0.5, 0.5]])
    expected = torch.tensor([[0.9**0.25 * 0.5**0.75, 0.1**0.25 * 0.5**0.75]])
    found = log_mean(torch.tensor([0.25, 0.75]), [one.log(), other.log()]).exp()
    torch.testing.assert_close(found, expected / expected.sum())


def test_too_few_rows_are_refused_by_the_name_of_the_class():
    labels = torch.full((90,), -100)
    labels[:5] = torch.tensor([0, 0, 1, 1, 2])
    with pytest.raises(DatasetError, match="owl"):
        fit_layers(LinearProbe(), outputs([1.0]), labels, 3, target=LabelSpace(("cat", "dog", "owl")))
