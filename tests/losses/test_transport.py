from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from hf_ctkd.costs import EmpiricalCost, PrototypeCost
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import LossContext, ProbeLoss, TransportLoss
from hf_ctkd.ot import transport_rows
from hf_ctkd.probes import LinearProbe, estimate_prior
from hf_ctkd.testing import check_loss
from hf_ctkd.types import UNLABELLED, LabelSpace, ModelOutputs, Needs

SPACE = LabelSpace(("cat", "dog", "owl", "carp"))


def context(truth, labelled, *teachers, said=0.0):
    """Teachers over all rows; the first `labelled` rows have their label, the input says `said` of the truth."""
    labels = torch.where(torch.arange(len(truth)) < labelled, truth, UNLABELLED)
    inputs = torch.randn(len(truth), 8)
    inputs[:, : len(SPACE)] += said * F.one_hot(truth, len(SPACE))
    student = ModelOutputs(torch.randn(len(truth), 3), torch.randn(len(truth), len(SPACE)), inputs=inputs)
    return LossContext(labels, SPACE, student, teachers, (SPACE,) * len(teachers), inputs=inputs)


def teacher(truth, signal, width=8):
    """Features and predictions that say something of the truth, or nothing at signal 0."""
    one_hot = torch.nn.functional.one_hot(truth, len(SPACE)).float()
    features = torch.randn(len(truth), width)
    features[:, : len(SPACE)] += signal * one_hot
    return ModelOutputs(features, torch.randn(len(truth), len(SPACE)) + signal * one_hot)


def terms(loss, known, logits, rows=slice(None)):
    loss.setup(known)
    student = ModelOutputs(known.student.features[rows], logits, inputs=known.inputs[rows])
    return loss(
        student, tuple(one.select(torch.arange(len(known.labels))[rows]) for one in known.teachers), known.labels[rows]
    )


@pytest.mark.parametrize(
    "cost", [LinearProbe(), EmpiricalCost(), PrototypeCost()], ids=lambda cost: type(cost).__name__
)
def test_contract(cost):
    rows = isinstance(cost, LinearProbe)
    check_loss(lambda: TransportLoss(cost), reads_labels=rows)
    check_loss(lambda: TransportLoss(cost, power=0.0, relax=float("inf")), reads_labels=rows)


@pytest.mark.parametrize("make", [TransportLoss, ProbeLoss, lambda: TransportLoss(EmpiricalCost())])
def test_random_teacher_has_next_to_no_weight_and_keeps_the_graph(make):
    truth = torch.arange(400) % 4
    loss = make()
    logits = torch.zeros(400, 4, requires_grad=True)
    known = context(truth, 80, teacher(truth, 0.0))
    found = sum(terms(loss, known, logits).values())
    found.backward()
    assert loss.weights()[0] < 0.05
    assert found.item() < 0.01
    assert float(logits.grad.abs().sum()) < 0.05
    related = make()
    terms(related, context(truth, 80, teacher(truth, 4.0)), torch.zeros(400, 4))
    assert related.weights()[0] > 0.5


@pytest.mark.parametrize("make", [TransportLoss, ProbeLoss, lambda: TransportLoss(EmpiricalCost())])
def test_poor_teacher_beside_a_good_one_takes_next_to_nothing_away(make):
    truth = torch.arange(400) % 4
    good, poor = teacher(truth, 4.0), teacher(truth, 0.0)
    gradients = []
    for committee in ((good,), (good, poor)):
        logits = torch.zeros(400, 4, requires_grad=True)
        sum(terms(make(), context(truth, 80, *committee), logits).values()).backward()
        gradients.append(logits.grad)
    assert torch.allclose(*gradients, atol=0.02 * float(gradients[0].abs().max()))


def test_literal_loss_trusts_all_teachers_alike():
    truth = torch.arange(200) % 4
    good, poor = teacher(truth, 4.0), teacher(truth, 0.0)
    logits = torch.randn(200, 4)
    alone = [terms(TransportLoss(EmpiricalCost(), power=0.0), context(truth, 80, one), logits) for one in (good, poor)]
    both = terms(TransportLoss(EmpiricalCost(), power=0.0), context(truth, 80, good, poor), logits)
    assert torch.allclose(both["transport"], (alone[0]["transport"] + alone[1]["transport"]) / 2)


@pytest.mark.parametrize(
    ("labelled", "cost"),
    [(16, LinearProbe()), (16, EmpiricalCost()), (400, EmpiricalCost())],
    ids=["rows", "few", "all"],
)
def test_fully_labelled_and_mostly_unlabelled_rows(labelled, cost):
    truth = torch.arange(400) % 4
    known = context(truth, labelled, teacher(truth, 4.0))
    loss = TransportLoss(cost)
    free = torch.zeros(400, 4, requires_grad=True)
    loss.setup(known)
    optimiser = torch.optim.Adam([free], lr=0.5)
    for _ in range(12):
        optimiser.zero_grad()
        sum(loss(replace(known.student, logits=free), known.teachers, known.labels).values()).backward()
        optimiser.step()
    assert float((free.argmax(1) == truth).float().mean()) > 0.85


@pytest.mark.parametrize("cost", [EmpiricalCost(), PrototypeCost()], ids=["empirical", "prototype"])
def test_gradient_of_the_label_cost_path_agrees_with_finite_differences(cost):
    truth = torch.arange(120) % 4
    known = context(truth, 60, teacher(truth, 3.0))
    loss = TransportLoss(cost, epsilon=0.2)
    loss.setup(known)

    def value(logits):
        return loss(
            ModelOutputs(known.student.features[:10], logits),
            (known.teachers[0].select(torch.arange(10)),),
            known.labels[:10],
        )["transport"]

    logits = torch.randn(10, 4, requires_grad=True)
    value(logits).backward()
    for _ in range(3):
        direction = torch.randn(10, 4)
        with torch.no_grad():
            slope = (value(logits + 0.02 * direction) - value(logits - 0.02 * direction)) / 0.04
        # The solver stops at a marginal error of 1e-3, relative to which the gradient is exact.
        assert (logits.grad * direction).sum().item() == pytest.approx(slope.item(), abs=2e-3 * loss.weights()[0])


def test_transported_targets_follow_an_imbalanced_prior():
    shares = torch.tensor([0.7, 0.1, 0.1, 0.1])
    truth = torch.multinomial(shares, 1000, replacement=True)
    known = context(truth, 200, teacher(truth, 1.5))
    balanced = known.labels.new_tensor(sum(([c] * 20 for c in range(4)), []))
    found = {}
    for name, seen in (("counted", known), ("balanced", _with_labels(known, truth, balanced))):
        loss = TransportLoss(relax=float("inf"), input_features=False, rounds=0)
        loss.setup(seen)
        term = loss.term
        posterior = term.probes.log_posterior(None, seen.teachers)
        found[name] = ((posterior + term.potential) / term.epsilon).softmax(1).mean(0)
    assert float(found["counted"][0]) == pytest.approx(0.7, abs=0.06)
    assert found["balanced"].tolist() == pytest.approx([0.25] * 4, abs=0.01)


def _with_labels(known, truth, wanted):
    """The same rows with labels for as many rows of each class as wanted."""
    labels = torch.full_like(known.labels, UNLABELLED)
    for one in range(4):
        rows = (truth == one).nonzero()[: int((wanted == one).sum()), 0]
        labels[rows] = one
    return replace(known, labels=labels)


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_term_is_the_weighted_kl_from_the_plans_rows(power):
    # Labelled rows are balanced and the others are not, so that it matters how firmly the shares are held.
    truth = torch.cat([torch.arange(80) % 4, torch.zeros(320, dtype=torch.long)])
    known = context(truth, 80, teacher(truth, 1.5))
    logits = torch.randn(400, 4)
    found = terms(TransportLoss(power=power, relax=2.0, own=0.0, input_features=False, rounds=0), known, logits)[
        "transport"
    ]
    fitted = LinearProbe().fit(known.teachers[0].features, known.labels, 4)
    posterior = fitted.log_posterior(known.teachers[0].features)
    plan = transport_rows(posterior, estimate_prior(known.labels, 4), relax=2.0 * 80 / 400)
    rows = F.kl_div(
        logits.log_softmax(1), ((posterior + plan.potential) / plan.epsilon).softmax(dim=1), reduction="none"
    ).sum(1)
    divergence = (rows * torch.where(known.labels == UNLABELLED, 1.0, 0.2)).mean()  # 80 of 400 are labelled
    assert 0.1 < fitted.information_gain < 0.9
    assert torch.allclose(found, fitted.information_gain**power * divergence, rtol=1e-3)


def test_class_shares_are_held_less_firmly_the_fewer_labels_there_are():
    truth = torch.arange(400) % 4
    known = context(truth, 40, teacher(truth, 1.5))
    potentials = []
    for relax in (1e-6, 1.0, float("inf")):
        loss = TransportLoss(relax=relax, input_features=False, rounds=0)
        loss.setup(known)
        potentials.append(float(loss.term.potential.abs().max()))
    assert potentials[0] < 1e-3 < potentials[1] < potentials[2]


def test_headless_teacher_serves_a_probe_and_not_a_label_cost():
    truth = torch.arange(200) % 4
    headless = ModelOutputs(teacher(truth, 4.0).features)
    known = replace(context(truth, 80, headless), teacher_label_spaces=(None,))
    assert torch.isfinite(terms(TransportLoss(), known, torch.randn(200, 4))["transport"])
    with pytest.raises(InvalidArgumentError, match="teacher 0 has no head.* TransportLoss\\(LinearProbe\\(\\)\\)"):
        TransportLoss(EmpiricalCost()).setup(known)


def test_student_without_a_head():
    truth = torch.arange(200) % 4
    known = context(truth, 80, teacher(truth, 4.0))
    loss = TransportLoss()
    loss.setup(known)
    with pytest.raises(InvalidArgumentError, match="`student` must be a classifier with logits"):
        loss(replace(known.student, logits=None), known.teachers, known.labels)


def test_no_teacher():
    for loss in (TransportLoss(input_features=False), TransportLoss(EmpiricalCost())):
        with pytest.raises(InvalidArgumentError, match="`teachers` must hold at least one teacher"):
            loss.setup(context(torch.arange(40) % 4, 20))


def test_defaults_depend_on_the_cost_and_are_recorded():
    rows, labels = TransportLoss(), TransportLoss(EmpiricalCost())
    assert (rows.epsilon, rows.power, labels.epsilon, labels.power) == (0.25, 1.0, 0.1, 2.0)
    assert rows.needs == Needs.TEACHER | Needs.FIT | Needs.FEATURES | Needs.LAYERS | Needs.INPUT
    assert TransportLoss(input_features=False).needs == rows.needs & ~Needs.INPUT
    assert labels.needs == Needs.TEACHER | Needs.FIT | Needs.LOGITS
    assert labels.settings() == {
        "cost": "EmpiricalCost(smoothing=1.0)",
        "epsilon": 0.1,
        "temperature": 1.0,
        "power": 2.0,
        "relax": 4.0,
        "own": 0.7,
        "input_features": False,
        "rounds": 0,
    }


@pytest.mark.parametrize("name", ["epsilon", "temperature", "relax"])
def test_bad_positive_arguments(name):
    with pytest.raises(InvalidArgumentError, match=f"`{name}` must be positive, got 0.0"):
        TransportLoss(**{name: 0.0})


def test_bad_power():
    with pytest.raises(InvalidArgumentError, match="`power` must not be negative, got -1.0"):
        TransportLoss(power=-1.0)


def test_students_own_prediction_joins_the_target_only_as_it_agrees():
    truth = torch.arange(200) % 4
    known = context(truth, 80, teacher(truth, 2.0))
    alone, joined = TransportLoss(own=0.0), TransportLoss(own=0.5)
    for loss in (alone, joined):
        loss.setup(known)

    def pull(loss, logits):
        logits = logits.clone().requires_grad_()
        student = replace(known.student, logits=logits)
        loss(student, known.teachers, known.labels)
        loss.after_step(lambda sums: sums)  # until then it knows nothing of this student
        loss(student, known.teachers, known.labels)["transport"].backward()
        return float(logits.grad.abs().sum())

    sure = 6.0 * torch.nn.functional.one_hot(truth, 4).float()
    assert pull(joined, sure) < 0.8 * pull(alone, sure)  # a student that knows better is held back less
    wrong = 6.0 * torch.nn.functional.one_hot((truth + 1) % 4, 4).float()
    assert pull(joined, wrong) > 0.9 * pull(alone, wrong)


def test_agreement_is_that_of_all_rows_of_a_step_on_all_processes():
    truth = torch.arange(200) % 4
    known = context(truth, 80, teacher(truth, 2.0))
    student = replace(known.student, logits=4.0 * torch.randn(200, 4))
    loss = TransportLoss()
    loss.setup(known)

    def see(rows):
        here = torch.arange(200)[rows]
        loss(student.select(here), tuple(one.select(here) for one in known.teachers), known.labels[here])

    see(slice(0, 200))
    loss.after_step(lambda sums: sums)
    whole = loss.term.agreement
    assert 0.1 < whole < 0.9
    sums = []
    see(slice(150, 200))  # as another process does
    loss.after_step(lambda own: sums.append(own) or own)
    see(slice(0, 140))
    see(slice(140, 150))
    loss.after_step(lambda own: own + sums[0])
    torch.testing.assert_close(loss.term.agreement, whole)
    loss.eval()
    see(slice(0, 10))
    loss.after_step(lambda own: own)
    torch.testing.assert_close(loss.term.agreement, whole)


def test_what_the_teacher_does_not_know_is_read_out_of_the_input():
    truth = torch.arange(400) % 4
    right = {}
    for input_features in (True, False):
        logits = torch.zeros(400, 4, requires_grad=True)
        loss = TransportLoss(input_features=input_features)
        terms(loss, context(truth, 80, teacher(truth, 0.0), said=3.0), logits)["transport"].backward()
        right[input_features] = float(((-logits.grad).argmax(1) == truth)[80:].float().mean())
        assert len(loss.weights()) == 1 and loss.weights()[0] < 0.05
    assert right[True] > 0.9 > 0.6 > right[False]
    assert loss.diagnostics() == {}
    loss = TransportLoss()
    loss.setup(context(truth, 80, teacher(truth, 0.0), said=3.0))
    assert loss.diagnostics()["input_share"] == loss.input_share() > 0.99
    assert TransportLoss(EmpiricalCost()).input_share() == 0


def test_rounds_of_learning_from_the_plan_mend_targets():
    truth = torch.arange(600) % 4
    right = {0: 0.0, 2: 0.0}
    for _ in range(4):
        known = context(truth, 24, teacher(truth, 2.5, width=30))
        for rounds in right:
            logits = torch.zeros(600, 4, requires_grad=True)
            terms(TransportLoss(rounds=rounds, own=0.0), known, logits)["transport"].backward()
            right[rounds] += float(((-logits.grad).argmax(1) == truth).float().mean()) / 4
    assert right[2] > right[0] + 0.01


def test_bad_rounds():
    with pytest.raises(InvalidArgumentError, match="`rounds` must not be negative, got -1"):
        TransportLoss(rounds=-1)


@pytest.mark.parametrize("own", [-0.1, 1.0])
def test_bad_own_share(own):
    with pytest.raises(InvalidArgumentError, match=r"`own` must lie in \[0, 1\), got"):
        TransportLoss(own=own)


def test_with_every_row_labelled_every_row_counts_in_full():
    truth = torch.arange(80) % 4
    known = context(truth, 80, teacher(truth, 1.5))
    logits = torch.randn(80, 4)
    loss = TransportLoss(own=0.0, input_features=False, rounds=0)
    whole = terms(loss, known, logits)["transport"]
    unlabelled = loss(replace(known.student, logits=logits), known.teachers, torch.full_like(known.labels, UNLABELLED))
    assert torch.allclose(whole, unlabelled["transport"])
