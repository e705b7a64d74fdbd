from dataclasses import replace

import pytest
import torch

from hf_ctkd.costs import PrototypeCost
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import LabelMapLoss, ProbeLoss
from hf_ctkd.ot import OTProblem, Sinkhorn
from hf_ctkd.testing import LossCase, check_loss
from hf_ctkd.types import ModelOutputs, Needs


def test_contract():
    check_loss(LabelMapLoss)
    check_loss(lambda: LabelMapLoss(PrototypeCost(), epsilon=0.3, temperature=2.0, gain_exponent=1.0))


def test_map_is_where_transport_with_plain_entropy_is_cheapest():
    case = LossCase.of(teachers=1)
    loss = LabelMapLoss(epsilon=0.2)
    loss.setup(case.context)
    matrix = loss.costs.matrix(0).double()
    said = case.teachers[0].logits.double().softmax(1)
    logits = loss.mapped(case.teachers[0], 0).double().log().requires_grad_()

    def plain_value(logits):
        b = logits.softmax(1)
        value = Sinkhorn(0.2, tolerance=1e-10).solve(OTProblem(matrix, said, b)).value
        # The solver's entropy is relative to the product of the marginals: it is larger by the entropy of both.
        return value.sum() + 0.2 * float(matrix.max()) * torch.special.xlogy(b, b).sum()

    best = plain_value(logits)
    best.backward()
    assert float(logits.grad.abs().max()) < 1e-6
    for _ in range(3):
        assert plain_value(logits.detach() + 0.3 * torch.randn_like(logits)) > best.detach()


def test_weight_is_the_power_of_relatedness():
    case = LossCase.of(teachers=1)
    found = {}
    for gain_exponent in (0.0, 1.0, 2.0):
        loss = LabelMapLoss(gain_exponent=gain_exponent)
        loss.setup(case.context)
        found[gain_exponent] = case.terms(loss)["label_map"].item()
    related = float(loss.costs.relatedness[0])
    assert loss.weights()[0] == pytest.approx(related**2)
    assert 0.05 < related < 0.95
    assert found[1.0] == pytest.approx(related * found[0.0], rel=1e-5)
    assert found[2.0] == pytest.approx(related**2 * found[0.0], rel=1e-5)


def test_unrelated_teacher_counts_for_next_to_nothing_but_keeps_the_graph():
    case = LossCase.of(teachers=1)
    noise = replace(case.context.teachers[0], logits=torch.randn(len(case.context.labels), 4))
    loss = LabelMapLoss()
    loss.setup(replace(case.context, teachers=(noise,)))
    assert loss.weights()[0] < 0.1
    student = ModelOutputs(case.student.features, case.student.logits.clone().requires_grad_())
    term = loss(student, case.teachers, case.labels)["label_map"]
    term.backward()
    assert term.item() < 0.02
    assert student.logits.grad is not None


def test_needs_what_its_cost_needs():
    assert LabelMapLoss(PrototypeCost()).needs == Needs.TEACHER | Needs.FIT | Needs.LOGITS | PrototypeCost.needs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epsilon": 0.0}, "`epsilon` must be positive and finite, got 0.0"),
        ({"temperature": -1.0}, "`temperature` must be positive and finite, got -1.0"),
        ({"gain_exponent": -1.0}, "`gain_exponent` must not be negative, got -1.0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        LabelMapLoss(**arguments)


def test_headless_teacher():
    context = LossCase.of(teachers=2).context
    headless = (context.teachers[0], replace(context.teachers[1], logits=None))
    with pytest.raises(InvalidArgumentError, match="LabelMapLoss reads class predictions, but teacher 1 has no head"):
        LabelMapLoss().setup(replace(context, teachers=headless, teacher_label_spaces=(context.label_space, None)))


def test_its_map_is_the_mean_of_the_mapped_predictions():
    case = LossCase.of(teachers=1)
    loss = LabelMapLoss()
    loss.setup(case.context)
    mass = loss.transport_map(case.context)
    mapped = loss.row_targets(case.context).double().mean(dim=0)
    torch.testing.assert_close(mass.sum(dim=0), mapped, atol=1e-6, rtol=0)
    assert ProbeLoss().transport_map(case.context) is None
