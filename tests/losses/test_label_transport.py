from dataclasses import replace

import pytest
import torch
from graded_teachers import make_context, make_teacher, terms_of

from hf_ctkd.costs import EmpiricalCost, PrototypeCost, relatedness
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import LabelTransportLoss
from hf_ctkd.losses.label_transport import TeacherLabelCosts
from hf_ctkd.testing import LossCase, check_loss
from hf_ctkd.types import ModelOutputs, Needs

COSTS = pytest.mark.parametrize("cost", [EmpiricalCost(), PrototypeCost()], ids=["empirical", "prototype"])


@COSTS
def test_contract(cost):
    check_loss(lambda: LabelTransportLoss(cost))
    check_loss(lambda: LabelTransportLoss(cost, gain_exponent=0.0))


def test_random_teacher_has_almost_no_weight_and_keeps_the_graph():
    truth = torch.arange(400) % 4
    loss = LabelTransportLoss()
    logits = torch.zeros(400, 4, requires_grad=True)
    term = terms_of(loss, make_context(truth, 80, make_teacher(truth, 0.0)), logits)["label_transport"]
    term.backward()
    assert loss.weights()[0] < 0.05
    assert term.item() < 0.01
    assert float(logits.grad.abs().sum()) < 0.05
    related = LabelTransportLoss()
    related.setup(make_context(truth, 80, make_teacher(truth, 4.0)))
    assert related.weights()[0] > 0.5


def test_poor_teacher_beside_a_good_one_takes_almost_nothing_away():
    truth = torch.arange(400) % 4
    good, poor = make_teacher(truth, 4.0), make_teacher(truth, 0.0)
    gradients = []
    for committee in ((good,), (good, poor)):
        logits = torch.zeros(400, 4, requires_grad=True)
        terms_of(LabelTransportLoss(), make_context(truth, 80, *committee), logits)["label_transport"].backward()
        gradients.append(logits.grad)
    assert torch.allclose(*gradients, atol=0.02 * float(gradients[0].abs().max()))


def test_the_paper_s_loss_weights_all_teachers_alike():
    truth = torch.arange(200) % 4
    good, poor = make_teacher(truth, 4.0), make_teacher(truth, 0.0)
    logits = torch.randn(200, 4)

    def term(*teachers):
        loss = LabelTransportLoss(gain_exponent=0.0)
        return terms_of(loss, make_context(truth, 80, *teachers), logits)["label_transport"]

    assert torch.allclose(term(good, poor), (term(good) + term(poor)) / 2)


@pytest.mark.parametrize("labelled", [16, 400], ids=["few", "all"])
def test_a_related_teacher_teaches_all_rows(labelled):
    truth = torch.arange(400) % 4
    context = make_context(truth, labelled, make_teacher(truth, 4.0))
    loss = LabelTransportLoss()
    loss.setup(context)
    logits = torch.zeros(400, 4, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.5)
    for _ in range(12):
        optimizer.zero_grad()
        student = ModelOutputs(context.student.features, logits)
        loss(student, context.teachers, context.labels)["label_transport"].backward()
        optimizer.step()
    assert float((logits.argmax(1) == truth).float().mean()) > 0.85


@COSTS
def test_gradient_agrees_with_finite_differences(cost):
    truth = torch.arange(120) % 4
    context = make_context(truth, 60, make_teacher(truth, 3.0))
    loss = LabelTransportLoss(cost, epsilon=0.2)
    loss.setup(context)
    teacher = context.teachers[0].select(torch.arange(10))

    def value(logits):
        student = ModelOutputs(context.student.features[:10], logits)
        return loss(student, (teacher,), context.labels[:10])["label_transport"]

    logits = torch.randn(10, 4, requires_grad=True)
    value(logits).backward()
    for _ in range(3):
        direction = torch.randn(10, 4)
        with torch.no_grad():
            slope = (value(logits + 0.02 * direction) - value(logits - 0.02 * direction)) / 0.04
        # The solver stops at a marginal error of 1e-3, relative to which the gradient is exact.
        assert (logits.grad * direction).sum().item() == pytest.approx(slope.item(), abs=2e-3 * loss.weights()[0])


def test_headless_teacher():
    truth = torch.arange(200) % 4
    context = make_context(truth, 80, ModelOutputs(make_teacher(truth, 4.0).features))
    with pytest.raises(InvalidArgumentError, match="teacher 0 has no head.* RowTransportLoss\\(\\)"):
        LabelTransportLoss().setup(replace(context, teacher_label_spaces=(None,)))


def test_no_teacher():
    with pytest.raises(InvalidArgumentError, match="`teachers` must hold at least one teacher"):
        LabelTransportLoss().setup(make_context(torch.arange(40) % 4, 20))


def test_needs_and_settings():
    assert LabelTransportLoss().needs == Needs.TEACHER | Needs.FIT | Needs.LOGITS
    assert PrototypeCost.needs in LabelTransportLoss(PrototypeCost()).needs
    assert LabelTransportLoss().settings() == {
        "cost": "EmpiricalCost(smoothing=1.0)",
        "epsilon": 0.1,
        "temperature": 1.0,
        "gain_exponent": 2.0,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epsilon": 0.0}, "`epsilon` must be positive and finite, got 0.0"),
        ({"temperature": 0.0}, "`temperature` must be positive and finite, got 0.0"),
        ({"gain_exponent": -1.0}, "`gain_exponent` must not be negative, got -1.0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        LabelTransportLoss(**arguments)


def test_arguments_of_the_transport_of_rows_are_refused():
    for name in ("self_distillation", "prior_strength", "refit_rounds", "input_features", "probe"):
        with pytest.raises(TypeError, match=name):
            LabelTransportLoss(**{name: 1})


def test_matrices_and_relatedness_of_all_teachers():
    case = LossCase.of()
    costs = TeacherLabelCosts(EmpiricalCost(), 2.0)
    costs.fit(case.context, "a loss")
    for index, outputs in enumerate(case.context.teachers):
        space = case.context.label_space
        expected = EmpiricalCost().matrix(outputs, case.context.labels, target=space, teacher=space)
        assert torch.allclose(costs.matrix(index), expected)
        related = relatedness(outputs.logits.softmax(1), case.context.labels, 4)
        assert costs.relatedness[index].item() == pytest.approx(related)


@pytest.mark.parametrize(
    ("related", "gain_exponent", "factors"),
    [
        ([0.8, 0.0], 2.0, [0.64, 0.0]),
        ([0.8, 0.0], 0.0, [0.5, 0.5]),
        ([0.8, 0.8], 1.0, [0.4, 0.4]),
        ([0.0, 0.0], 2.0, [0.0, 0.0]),
    ],
)
def test_factors_share_out_the_weight(related, gain_exponent, factors):
    costs = TeacherLabelCosts(EmpiricalCost(), gain_exponent)
    costs.relatedness = torch.tensor(related)
    assert costs.factors().tolist() == pytest.approx(factors)


def test_its_map_is_the_plan_at_its_own_cost_and_epsilon():
    case = LossCase.of(teachers=1)
    teacher = case.context.teachers[0].logits.double().softmax(dim=1).mean(dim=0)
    spread = []
    for epsilon in (0.05, 1.0):
        loss = LabelTransportLoss(epsilon=epsilon)
        loss.setup(case.context)
        mass = loss.transport_map(case.context)
        torch.testing.assert_close(mass.sum(dim=1), teacher, atol=2e-3, rtol=0)  # the tolerance of its solver
        spread.append(float(torch.special.entr(mass).sum()))
    assert spread[0] < spread[1]
    loss.costs.used = (False,)
    assert loss.transport_map(case.context) is None
