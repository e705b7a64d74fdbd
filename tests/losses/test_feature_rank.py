import logging
from dataclasses import replace

import pytest
import torch

from hf_ctkd.losses import InvertedProjectionLoss, WeightedSum
from hf_ctkd.losses.feature_rank import FeatureRank, effective_rank
from hf_ctkd.testing import LossCase


def directions(count, rows=200, width=12):
    """Features with equal variance along so many directions, and a mean that counts for nothing."""
    signal = torch.linalg.qr(torch.randn(rows, count) - torch.randn(rows, count).mean(0)).Q
    signal = torch.linalg.qr(signal - signal.mean(0)).Q
    return signal @ torch.linalg.qr(torch.randn(width, count)).Q.T + 5 * torch.randn(width)


@pytest.mark.parametrize("shape", [(200, 12), (20, 40)])
@pytest.mark.parametrize("count", [1, 3, 10])
def test_equal_variance_along_some_directions(count, shape):
    features = directions(count, *shape)
    assert effective_rank(features) == pytest.approx(count, rel=1e-4)
    assert effective_rank(7 * features) == pytest.approx(count, rel=1e-4)


def test_variances_of_one_to_three():
    features = torch.diag(torch.tensor([1.0, 3.0]).sqrt())
    features = torch.cat([features, -features])
    expected = torch.distributions.Categorical(torch.tensor([0.25, 0.75])).entropy().exp()
    assert effective_rank(features) == pytest.approx(float(expected), rel=1e-5)


def test_equal_rows_have_rank_one():
    assert effective_rank(torch.ones(5, 3)) == 1.0


def watch(classes, *ranks):
    rank = FeatureRank("projection")
    rank.setup(directions(ranks[0]), classes)
    for count in ranks:
        rank.record(directions(count).unsqueeze(1))
        seen = rank.observe()
        assert seen == {"projection/student_effective_rank": pytest.approx(count, rel=1e-3)}
    return rank


def test_collapse_is_warned_of_once_and_remembered(caplog):
    with caplog.at_level(logging.WARNING):
        rank = watch(11, 10, 2, 1)
    (message,) = caplog.messages
    assert "collapse under the loss projection: their effective rank fell from 10.0 to 2.0. Lower its" in message
    (remark,) = rank.remarks()
    assert "their effective rank fell from 10.0 to 1.0 under the loss projection." in remark
    again = FeatureRank("projection")
    again.load_state_dict(rank.state_dict())
    assert again.remarks() == rank.remarks()


@pytest.mark.parametrize(
    ("classes", "ranks"),
    [(2, (10, 1)), (11, (10, 3)), (11, (1, 1)), (11, (1, 4, 2))],
    ids=["two classes need one direction", "a quarter is left", "low from the start", "above a quarter of the highest"],
)
def test_what_is_no_collapse(classes, ranks, caplog):
    with caplog.at_level(logging.WARNING):
        rank = watch(classes, *ranks)
    assert not caplog.messages and rank.remarks() == ()


def test_nothing_is_seen_before_the_first_batch_or_in_evaluation():
    rank = FeatureRank("projection")
    assert rank.observe() == {}
    rank.eval()
    rank.record(directions(3).unsqueeze(1))
    assert rank.observe() == {}


def test_padding_does_not_count():
    rank = FeatureRank("projection")
    features, mask = directions(3), torch.arange(200) < 150
    padded = torch.where(mask[:, None], features, 99.0 * torch.randn(200, 12))
    rank.record(padded.view(20, 10, 12), mask.view(20, 10))
    assert rank.observe()["projection/student_effective_rank"] == pytest.approx(effective_rank(features[:150]))


@pytest.mark.parametrize(("layers", "name"), [(None, "features"), (((0, 0),), "layer")])
def test_a_projection_loss_logs_the_rank_of_what_it_reads(layers, name):
    case = LossCase.of(0 if layers is None else 1)
    loss = InvertedProjectionLoss(layers=layers)
    loss.setup(case.context)
    case.terms(loss)
    hidden = case.student.hidden[0] if layers else None
    read = case.student.features if hidden is None else hidden.values[hidden.mask]
    logged = loss.diagnostics()["inverted_projection/student_effective_rank"]
    assert logged == pytest.approx(effective_rank(read), rel=1e-5)


def test_a_sum_of_losses_passes_remarks_on():
    case = LossCase.of()
    loss = WeightedSum([(InvertedProjectionLoss(), 1.0)])
    loss.setup(case.context)
    assert loss.remarks() == ()
    flat = replace(case, student=replace(case.student, features=torch.ones_like(case.student.features)))
    part = loss.parts[0]
    part.feature_rank.highest.fill_(10.0)
    part.feature_rank._classes = 9
    flat.terms(loss)
    loss.diagnostics()
    assert "fell from 10.0 to 1.0" in loss.remarks()[0]
