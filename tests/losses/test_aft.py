import doctest

import pytest
import torch

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import AFTLoss, LossContext, aft
from hf_ctkd.testing import LossCase, check_loss
from hf_ctkd.types import LabelSpace, ModelOutputs

LABELS = torch.zeros(30, dtype=torch.long)


def set_up(student, *teachers, **arguments):
    loss = AFTLoss(**arguments)
    loss.setup(LossContext(LABELS, LabelSpace(("a", "b")), ModelOutputs(student), tuple(map(ModelOutputs, teachers))))
    return loss


def term(loss, student, *teachers):
    return loss(ModelOutputs(student), tuple(map(ModelOutputs, teachers)), LABELS)["aft"]


def test_contract():
    check_loss(AFTLoss)
    check_loss(lambda: AFTLoss(1.0, learning_rate=0.1), LossCase.of(teachers=3))


def test_doctests():
    assert doctest.testmod(aft).failed == 0


def test_rotated_shifted_and_rescaled_features_are_as_good_as_the_teachers():
    theirs = torch.randn(30, 5)
    rotation = torch.linalg.qr(torch.randn(9, 5)).Q
    student = 3 * theirs @ rotation.T + torch.randn(9)
    # The constant under the root leaves weight * 1e-4.
    assert term(set_up(student, theirs), student, theirs).item() == pytest.approx(1e-3, rel=0.05)


def test_two_rows_are_opposite_on_both_sides_whatever_they_hold():
    student, theirs = torch.randn(2, 4), torch.randn(2, 7)
    assert term(set_up(student, theirs), student, theirs).item() == pytest.approx(1e-3, rel=0.05)


def test_value_for_similarities_worked_out_by_hand():
    # Centred rows (1, 0), (-1, 0), (0, 1), (0, -1): cosines 1, -1 and 0. The teacher swaps the second and third row.
    student = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    theirs = student[[0, 2, 1, 3]]
    # 8 of 16 cosines differ, each by one: pairs (0, 1) and (2, 3) against (0, 2) and (1, 3).
    assert term(set_up(student, theirs, weight=2.0), student, theirs).item() == pytest.approx(2 * 0.5**0.5, rel=1e-5)


def test_dimensions_of_no_use_fade_out():
    useful, noise = torch.randn(30, 3), 3 * torch.randn(30, 3)
    loss = set_up(useful, useful, noise)
    assert loss.diagnostics() == {"aft/scale_0": 0.5, "aft/scale_1": 0.5}
    optimiser = torch.optim.Adam(loss.parameters(), lr=0.1)
    first = term(loss, useful, useful, noise).item()
    for _ in range(100):
        optimiser.zero_grad()
        term(loss, useful, useful, noise).backward()
        optimiser.step()
    assert term(loss, useful, useful, noise).item() < 0.2 * first
    assert loss.diagnostics()["aft/scale_0"] > 0.9 and loss.diagnostics()["aft/scale_1"] < 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": -1.0}, "`weight` must be a positive number, got -1.0"),
        ({"learning_rate": 0.0}, "`learning_rate` must be positive, got 0.0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        AFTLoss(**arguments)
