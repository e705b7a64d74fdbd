from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from graded_teachers import make_context, make_teacher, terms_of

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import ProbeLoss, RowTransportLoss
from hf_ctkd.ot import transport_rows
from hf_ctkd.probes import LinearProbe, estimate_prior
from hf_ctkd.testing import LossCase, check_loss
from hf_ctkd.types import UNLABELLED, ModelOutputs, Needs

PLAIN = {"self_distillation": 0.0, "input_features": False, "refit_rounds": 0}
"""Teachers alone, transported once, without the student's own prediction."""


def test_contract():
    check_loss(RowTransportLoss, weighs_labelled_rows=True)
    check_loss(lambda: RowTransportLoss(gain_exponent=0.0, prior_strength=float("inf")), weighs_labelled_rows=True)


@pytest.mark.parametrize("make", [RowTransportLoss, ProbeLoss])
def test_random_teacher_has_almost_no_weight_and_keeps_the_graph(make):
    truth = torch.arange(400) % 4
    loss = make()
    logits = torch.zeros(400, 4, requires_grad=True)
    (term,) = terms_of(loss, make_context(truth, 80, make_teacher(truth, 0.0)), logits).values()
    term.backward()
    assert loss.weights()[0] < 0.05
    assert term.item() < 0.01
    assert float(logits.grad.abs().sum()) < 0.05
    related = make()
    related.setup(make_context(truth, 80, make_teacher(truth, 4.0)))
    assert related.weights()[0] > 0.5


@pytest.mark.parametrize("make", [RowTransportLoss, ProbeLoss])
def test_poor_teacher_beside_a_good_one_takes_almost_nothing_away(make):
    truth = torch.arange(400) % 4
    good, poor = make_teacher(truth, 4.0), make_teacher(truth, 0.0)
    gradients = []
    for committee in ((good,), (good, poor)):
        logits = torch.zeros(400, 4, requires_grad=True)
        (term,) = terms_of(make(), make_context(truth, 80, *committee), logits).values()
        term.backward()
        gradients.append(logits.grad)
    assert torch.allclose(*gradients, atol=0.02 * float(gradients[0].abs().max()))


def test_a_related_teacher_teaches_mostly_unlabelled_rows():
    truth = torch.arange(400) % 4
    context = make_context(truth, 16, make_teacher(truth, 4.0))
    loss = RowTransportLoss()
    loss.setup(context)
    logits = torch.zeros(400, 4, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.5)
    for _ in range(12):
        optimizer.zero_grad()
        loss(replace(context.student, logits=logits), context.teachers, context.labels)["row_transport"].backward()
        optimizer.step()
    assert float((logits.argmax(1) == truth).float().mean()) > 0.85


def test_transported_targets_follow_an_imbalanced_prior():
    truth = torch.multinomial(torch.tensor([0.7, 0.1, 0.1, 0.1]), 1000, replacement=True)
    drawn = make_context(truth, 200, make_teacher(truth, 1.5))
    balanced_rows = torch.cat([(truth == index).nonzero()[:20, 0] for index in range(4)])
    labels = torch.full_like(truth, UNLABELLED)
    labels[balanced_rows] = truth[balanced_rows]
    shares = []
    for context in (drawn, replace(drawn, labels=labels)):
        loss = RowTransportLoss(prior_strength=float("inf"), input_features=False, refit_rounds=0)
        loss.setup(context)
        log_posterior = loss.probes.log_posterior(None, context.teachers)
        shares.append(loss.soft_targets(log_posterior).mean(0).tolist())
    assert shares[0][0] == pytest.approx(0.7, abs=0.06)
    assert shares[1] == pytest.approx([0.25] * 4, abs=0.01)


@pytest.mark.parametrize("gain_exponent", [0.0, 1.0, 2.0])
def test_term_is_the_weighted_kl_from_the_rows_of_the_plan(gain_exponent):
    # Labelled rows are balanced and the others are not, so that it matters how firmly the shares are held.
    truth = torch.cat([torch.arange(80) % 4, torch.zeros(320, dtype=torch.long)])
    context = make_context(truth, 80, make_teacher(truth, 1.5))
    logits = torch.randn(400, 4)
    loss = RowTransportLoss(gain_exponent=gain_exponent, prior_strength=2.0, **PLAIN)
    term = terms_of(loss, context, logits)["row_transport"]
    fitted = LinearProbe().fit(context.teachers[0].features, context.labels, 4)
    posterior = fitted.log_posterior(context.teachers[0].features)
    plan = transport_rows(posterior, estimate_prior(context.labels, 4), prior_strength=2.0 * 80 / 400)
    targets = ((posterior + plan.potential) / plan.epsilon).softmax(1)
    rows = F.kl_div(logits.log_softmax(1), targets, reduction="none").sum(1)
    divergence = (rows * torch.where(context.labels == UNLABELLED, 1.0, 0.2)).mean()  # 80 of 400 are labelled
    assert 0.1 < fitted.relatedness < 0.9
    assert torch.allclose(term, fitted.relatedness**gain_exponent * divergence, rtol=1e-3)


def test_class_shares_are_held_less_firmly_the_fewer_labels_there_are():
    truth = torch.arange(400) % 4
    context = make_context(truth, 40, make_teacher(truth, 1.5))
    potentials = []
    for prior_strength in (1e-6, 1.0, float("inf")):
        loss = RowTransportLoss(prior_strength=prior_strength, input_features=False, refit_rounds=0)
        loss.setup(context)
        potentials.append(float(loss.potential.abs().max()))
    assert potentials[0] < 1e-3 < potentials[1] < potentials[2]


def test_headless_teacher():
    truth = torch.arange(200) % 4
    headless = ModelOutputs(make_teacher(truth, 4.0).features)
    context = replace(make_context(truth, 80, headless), teacher_label_spaces=(None,))
    assert torch.isfinite(terms_of(RowTransportLoss(), context, torch.randn(200, 4))["row_transport"])


def test_student_without_a_head():
    truth = torch.arange(200) % 4
    context = make_context(truth, 80, make_teacher(truth, 4.0))
    loss = RowTransportLoss()
    loss.setup(context)
    with pytest.raises(InvalidArgumentError, match="`student` must be a classifier with logits"):
        loss(replace(context.student, logits=None), context.teachers, context.labels)


def test_no_teacher():
    with pytest.raises(InvalidArgumentError, match="`teachers` must hold at least one teacher"):
        RowTransportLoss(input_features=False).setup(make_context(torch.arange(40) % 4, 20))


def test_needs_and_settings():
    loss = RowTransportLoss()
    assert loss.needs == Needs.TEACHER | Needs.FIT | Needs.FEATURES | Needs.LAYERS | Needs.INPUT
    assert RowTransportLoss(input_features=False).needs == loss.needs & ~Needs.INPUT
    assert loss.settings() == {
        "probe": "LinearProbe(strengths=(1.0, 0.1, 0.01), folds=5, seed=0)",
        "epsilon": 0.25,
        "gain_exponent": 1.0,
        "prior_strength": 4.0,
        "self_distillation": 0.7,
        "input_features": True,
        "refit_rounds": 2,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epsilon": 0.0}, "`epsilon` must be positive and finite, got 0.0"),
        ({"epsilon": float("inf")}, "`epsilon` must be positive and finite, got inf"),
        ({"prior_strength": 0.0}, "`prior_strength` must be positive, got 0.0"),
        ({"gain_exponent": -1.0}, "`gain_exponent` must not be negative, got -1.0"),
        ({"gain_exponent": float("nan")}, "`gain_exponent` must not be negative, got nan"),
        ({"refit_rounds": -1}, "`refit_rounds` must not be negative, got -1"),
        ({"self_distillation": -0.1}, r"`self_distillation` must lie in \[0, 1\), got -0.1"),
        ({"self_distillation": 1.0}, r"`self_distillation` must lie in \[0, 1\), got 1.0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        RowTransportLoss(**arguments)


def test_arguments_of_the_transport_of_labels_are_refused():
    for name in ("cost", "temperature"):
        with pytest.raises(TypeError, match=name):
            RowTransportLoss(**{name: 1})


def test_the_student_s_own_prediction_joins_the_target_only_as_far_as_both_agree():
    truth = torch.arange(200) % 4
    context = make_context(truth, 80, make_teacher(truth, 2.0))
    alone, joined = RowTransportLoss(self_distillation=0.0), RowTransportLoss(self_distillation=0.5)
    for loss in (alone, joined):
        loss.setup(context)

    def pull(loss, logits):
        logits = logits.clone().requires_grad_()
        student = replace(context.student, logits=logits)
        loss(student, context.teachers, context.labels)
        loss.after_step(lambda sums: sums)  # until then it knows nothing of this student
        loss(student, context.teachers, context.labels)["row_transport"].backward()
        return float(logits.grad.abs().sum())

    right = 6.0 * F.one_hot(truth, 4).float()
    assert pull(joined, right) < 0.8 * pull(alone, right)  # a student that knows better is held back less
    wrong = 6.0 * F.one_hot((truth + 1) % 4, 4).float()
    assert pull(joined, wrong) > 0.9 * pull(alone, wrong)


def test_agreement_is_that_of_all_rows_of_a_step_on_all_processes():
    truth = torch.arange(200) % 4
    context = make_context(truth, 80, make_teacher(truth, 2.0))
    student = replace(context.student, logits=4.0 * torch.randn(200, 4))
    loss = RowTransportLoss()
    loss.setup(context)

    def run(start, stop):
        rows = torch.arange(start, stop)
        loss(student.select(rows), tuple(teacher.select(rows) for teacher in context.teachers), context.labels[rows])

    run(0, 200)
    loss.after_step(lambda sums: sums)
    agreement = loss.agreement
    assert 0.1 < agreement < 0.9
    other_process = []
    run(150, 200)
    loss.after_step(lambda sums: other_process.append(sums) or sums)
    run(0, 140)
    run(140, 150)
    loss.after_step(lambda sums: sums + other_process[0])
    torch.testing.assert_close(loss.agreement, agreement)
    loss.eval()
    run(0, 10)
    loss.after_step(lambda sums: sums)
    torch.testing.assert_close(loss.agreement, agreement)


@pytest.mark.parametrize(("teacher", "student"), [(0.5, 0.4), (0.4, 0.5), (0.5, 0.5)])
def test_it_says_so_if_the_student_knows_as_much_as_its_teachers(teacher, student):
    loss = RowTransportLoss(input_features="student")
    assert loss.remarks() == ()
    loss.probes.information_gains, loss.probes.information_gain = torch.tensor([teacher, student]), torch.tensor(0.6)
    assert loss.strength() == pytest.approx(0.6)
    assert ("No teacher's layers explained more" in " ".join(loss.remarks())) == (student >= teacher)
    beside_inputs = RowTransportLoss()
    beside_inputs.probes.information_gains = torch.tensor([teacher, student])
    beside_inputs.probes.information_gain = torch.tensor(0.6)
    assert beside_inputs.strength() == pytest.approx(0.6) and beside_inputs.remarks() == ()


def test_the_student_may_take_the_place_of_its_input():
    loss = RowTransportLoss(input_features="student")
    assert loss.needs == (RowTransportLoss().needs & ~Needs.INPUT) | Needs.STUDENT
    assert loss.settings()["input_features"] == "student"
    with pytest.raises(InvalidArgumentError, match="`input_features` must be True, False or 'student', got 'words'"):
        RowTransportLoss(input_features="words")


def test_what_the_teacher_does_not_know_is_read_from_the_input_features():
    truth = torch.arange(400) % 4
    accuracy = {}
    for input_features in (True, False):
        logits = torch.zeros(400, 4, requires_grad=True)
        loss = RowTransportLoss(input_features=input_features)
        context = make_context(truth, 80, make_teacher(truth, 0.0), input_signal=3.0)
        terms_of(loss, context, logits)["row_transport"].backward()
        accuracy[input_features] = float(((-logits.grad).argmax(1) == truth)[80:].float().mean())
        assert len(loss.weights()) == 1 and loss.weights()[0] < 0.05
    assert accuracy[True] > 0.9 > 0.6 > accuracy[False]
    assert loss.diagnostics() == {}
    loss = RowTransportLoss()
    loss.setup(make_context(truth, 80, make_teacher(truth, 0.0), input_signal=3.0))
    assert loss.diagnostics()["input_share"] == loss.input_share() > 0.99


def test_refitting_to_the_plan_improves_the_targets():
    truth = torch.arange(600) % 4
    accuracy = {0: 0.0, 2: 0.0}
    for _ in range(4):
        context = make_context(truth, 24, make_teacher(truth, 2.5, width=30))
        for refit_rounds in accuracy:
            logits = torch.zeros(600, 4, requires_grad=True)
            loss = RowTransportLoss(refit_rounds=refit_rounds, self_distillation=0.0)
            terms_of(loss, context, logits)["row_transport"].backward()
            accuracy[refit_rounds] += float(((-logits.grad).argmax(1) == truth).float().mean()) / 4
    assert accuracy[2] > accuracy[0] + 0.01


def test_with_every_row_labelled_the_term_counts_less_than_the_labels():
    truth = torch.arange(80) % 4
    context = make_context(truth, 80, make_teacher(truth, 1.5))
    logits = torch.randn(80, 4)
    loss = RowTransportLoss(**PLAIN)
    labelled = terms_of(loss, context, logits)["row_transport"]
    no_labels = torch.full_like(context.labels, UNLABELLED)
    unlabelled = loss(replace(context.student, logits=logits), context.teachers, no_labels)["row_transport"]
    assert torch.allclose(labelled, 0.3 * unlabelled)


def test_its_map_is_the_transport_of_rows_by_the_class_of_the_first_teacher():
    case = LossCase.of(teachers=2)
    loss = RowTransportLoss()
    loss.setup(case.context)
    mass = loss.transport_map(case.context)
    targets = loss.soft_targets(loss.row_targets(case.context)).double()
    teacher = case.context.teachers[0].logits.double().softmax(dim=1)
    torch.testing.assert_close(mass, teacher.T @ targets / len(targets))
    assert float(mass.sum()) == pytest.approx(1) and loss.transport_meaning
    headless = replace(case.context, teacher_label_spaces=(None, *case.context.teacher_label_spaces[1:]))
    assert loss.transport_map(headless) is None
