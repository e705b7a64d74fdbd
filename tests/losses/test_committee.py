from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.losses import CommitteeLoss, RowTransportLoss
from hf_ctkd.losses.base import on_selected_rows
from hf_ctkd.probes import gain_shares
from hf_ctkd.testing import LossCase, check_loss
from hf_ctkd.types import UNLABELLED, ModelOutputs, Needs


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"prior": None},
        {"input_features": False},
        {"question": True},
        {"importance": "prior"},
        {"importance": "uniform", "question": True, "prior": None},
        {"stop_gradient": False, "task_weight": 0.0, "question": True},
        {"importance_threshold": 0.33, "prior": None},
        {"top_k": 1, "prior": None},
        {"top_k": 2, "importance_threshold": 0.2, "prior": None},
    ],
    ids=str,
)
def test_contract(settings):
    check_loss(lambda: CommitteeLoss(**settings), LossCase.of(teachers=3), reads_labels=True)


def test_contract_with_one_teacher():
    check_loss(CommitteeLoss, LossCase.of(teachers=1), reads_labels=True)


def ready(case, **settings):
    loss = CommitteeLoss(**settings)
    loss.setup(case.context)
    return loss


def test_needs():
    assert CommitteeLoss().needs == Needs.TEACHER | Needs.FEATURES | Needs.LAYERS | Needs.FIT | Needs.INPUT
    assert CommitteeLoss(input_features=False).needs == Needs.TEACHER | Needs.FEATURES | Needs.LAYERS | Needs.FIT
    assert CommitteeLoss(prior=None).needs == Needs.TEACHER | Needs.FEATURES | Needs.LAYERS


def test_one_teacher_alone_is_followed_as_it_answers():
    case = LossCase.of(teachers=1)
    loss = ready(case, prior=None, feature_weight=3.0, task_weight=2.0, question=True)
    features = case.student.features
    answer = loss.members[0](case.teachers[0], loss.questions(features, loss.embeddings[0]))
    gap = (features - answer).square().sum(1) / (features.square().sum(1) + answer.square().sum(1))
    share = float((case.context.labels != UNLABELLED).float().mean())
    task = F.cross_entropy(case.student.head(answer), case.labels, ignore_index=UNLABELLED, reduction="sum")
    terms = case.terms(loss)
    torch.testing.assert_close(terms["committee"], 3 * gap.mean())
    torch.testing.assert_close(terms["committee_task"], 2 * task / len(case.labels) / share)
    assert loss.weights() == (1.0,) and loss.importance_network.project is None


@pytest.mark.parametrize("prior", [True, False], ids=["prior", "no prior"])
def test_a_committee_that_asks_one_teacher_is_that_teacher_alone(prior):
    settings = {} if prior else {"prior": None}
    case = LossCase.of(teachers=1)
    noise = ModelOutputs(torch.randn(96, 6, generator=torch.Generator().manual_seed(3)))
    both = replace(
        case,
        context=replace(case.context, teachers=(*case.context.teachers, noise), teacher_label_spaces=(None, None)),
        teachers=(*case.teachers, noise.select(torch.arange(48))),
    )
    alone, committee = ready(case, **settings), ready(both, top_k=1, **settings)
    with torch.no_grad():
        committee.importance_network.prior.copy_(torch.tensor([1.0, 1e-30]))
    if prior:  # the second is known to know nothing
        committee.trust, committee.expertise.potential = alone.trust, alone.expertise.potential
        read, wanted = committee.expertise.probes, alone.expertise.probes
        read.shares = torch.stack([wanted.shares[0], torch.zeros(()), wanted.shares[1]])
        read.information_gain = wanted.information_gain
        for place, member in zip((0, 2), wanted.members, strict=True):
            read.members[place] = member
    assert committee.select(both.student)[:, 0].all() and not committee.select(both.student)[:, 1].any()
    for name, value in case.terms(alone).items():
        torch.testing.assert_close(both.terms(committee)[name], value, rtol=1e-5, atol=1e-6)


def test_learning_the_importance_of_one_teacher_changes_nothing():
    case = LossCase.of(teachers=1)
    found = []
    for importance in ("learned", "uniform"):
        loss = ready(case, importance=importance, question=True)
        sum(case.terms(loss).values()).backward()
        found.append([parameter.grad for parameter in loss.parameters()])
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


def test_importances_start_at_the_prior_and_stay_where_they_are_not_learned():
    case = LossCase.of(teachers=3)
    assert ready(case, importance="uniform").weights() == pytest.approx((1 / 3,) * 3)
    prior = ready(case, importance="prior")
    expected = gain_shares(prior.expertise.probes.teacher_information_gains, 4.0) + 1e-3
    expected = (expected / expected.sum()).tolist()
    assert prior.weights() == pytest.approx(expected)
    assert prior.weights() != pytest.approx((1 / 3,) * 3, abs=0.01)
    assert prior.embeddings is None and prior.questions is None
    case.terms(prior)
    assert prior.weights() == pytest.approx(expected, rel=1e-4)


def test_importance_is_known_before_teachers_run():
    case = LossCase.of(teachers=3)
    loss = ready(case, top_k=2)
    chosen = loss.select(case.student)
    assert (chosen.sum(1) == 2).all()
    blank = tuple(replace(one, features=torch.zeros_like(one.features)) for one in case.teachers)
    assert torch.equal(replace(case, teachers=blank).context.labels, case.context.labels)
    assert torch.equal(loss.select(case.student), chosen)


def test_teachers_that_are_not_asked_are_not_read():
    case = LossCase.of(teachers=3)
    loss = ready(case, top_k=1)
    chosen = loss.select(case.student)
    spoilt = tuple(
        replace(one, features=one.features.masked_fill(~chosen[:, [place]], torch.nan))
        for place, one in enumerate(case.teachers)
    )
    for name, value in replace(case, teachers=spoilt).terms(loss).items():
        assert torch.equal(value, case.terms(loss)[name])


def test_weights_of_those_asked_sum_to_one():
    case = LossCase.of(teachers=3)
    everybody, few = ready(case), ready(case, importance_threshold=0.3)
    case.terms(everybody)
    case.terms(few)
    for loss in (everybody, few):
        shares = [loss.diagnostics()[f"committee/teacher_{place}/importance"] for place in range(3)]
        assert sum(shares) == pytest.approx(1.0)
        assert loss.weights() == pytest.approx(shares, rel=1e-4)
    assert min(few.diagnostics()[f"committee/teacher_{place}/asked"] for place in range(3)) < 1.0
    assert all(everybody.diagnostics()[f"committee/teacher_{place}/asked"] == 1.0 for place in range(3))


def test_every_parameter_has_a_gradient_even_of_a_teacher_that_nobody_asked():
    case = LossCase.of(teachers=3)
    loss = ready(case, top_k=1)
    with torch.no_grad():
        loss.importance_network.prior.copy_(torch.tensor([1.0, 1e-30, 1e-30]))
    sum(case.terms(loss).values()).backward()
    assert all(parameter.grad is not None for parameter in loss.parameters())
    assert not loss.members[2].network[0].weight.grad.any()


def test_answers_follow_the_student_only_without_stop_gradient():
    case = LossCase.of(teachers=2)
    features = case.student.features.clone().requires_grad_()
    case = replace(case, student=replace(case.student, features=features))
    for stop in (True, False):
        loss = ready(case, stop_gradient=stop)
        case.terms(loss)["committee"].backward()
        reached = any(parameter.grad is not None for parameter in loss.members.parameters())
        assert reached != stop


def test_no_gradient_reaches_the_student_through_questions_and_importances():
    case = LossCase.of(teachers=2)
    loss = ready(case, question=True)
    features = case.student.features.clone().requires_grad_()
    terms = replace(case, student=replace(case.student, features=features)).terms(loss)
    terms["committee_task"].backward()
    assert features.grad is None


def test_shrinking_student_and_answers_gains_nothing():
    case = LossCase.of(teachers=2)
    loss = ready(case, prior=None)
    plain = case.terms(loss)["committee"]
    with torch.no_grad():
        for member in loss.members:
            member.network[2].weight.mul_(1e-3)
    shrunk = replace(case, student=replace(case.student, features=case.student.features * 1e-3))
    torch.testing.assert_close(shrunk.terms(loss)["committee"], plain, rtol=1e-3, atol=1e-4)


def test_spread_of_the_answers_tells_of_a_collapse():
    case = LossCase.of(teachers=2)
    loss = ready(case)
    assert loss.diagnostics() == {}
    case.terms(loss)
    assert loss.diagnostics()["committee/answer_spread"] > 0.05
    with torch.no_grad():
        for member in loss.members:
            member.network[2].weight.zero_()
    case.terms(loss)
    assert loss.diagnostics()["committee/answer_spread"] < 1e-6


def test_rows_without_label_are_told_to_the_answers_by_the_probe():
    case = LossCase.of(teachers=2)
    unlabelled = replace(case, labels=torch.full_like(case.labels, UNLABELLED))
    known, unknown = ready(case), ready(case, prior=None)
    assert unlabelled.terms(known)["committee_task"].item() > 0.1
    assert unlabelled.terms(unknown)["committee_task"].item() == 0.0


@pytest.mark.parametrize("input_features", [True, False])
def test_the_student_is_told_what_the_transport_loss_tells_it(input_features):
    case = LossCase.of(teachers=2)
    loss, transport = ready(case, input_features=input_features), RowTransportLoss(input_features=input_features)
    transport.setup(case.context)
    torch.testing.assert_close(case.terms(loss)["committee_probe"], case.terms(transport)["row_transport"])
    assert loss.input_share() == transport.input_share() and (loss.input_share() > 0) == input_features
    assert "committee_probe" not in case.terms(ready(case, prior=None))
    assert ready(case, prior=None).input_share() == 0


def test_a_teacher_that_says_nothing_starts_with_next_to_no_importance_and_moves_no_feature():
    case = LossCase.of(teachers=1)
    noise = ModelOutputs(torch.randn(96, 6, generator=torch.Generator().manual_seed(3)))
    loss = ready(replace(case, context=replace(case.context, teachers=(*case.context.teachers, noise))))
    assert 0 < loss.weights()[1] < 0.01 and sum(loss.weights()) == pytest.approx(1.0)
    blind = ready(replace(case, context=replace(case.context, teachers=(noise,))))
    assert float(blind.trust) < 0.01 < 0.1 < float(loss.trust)


def test_it_learns_to_answer():
    case = LossCase.of(teachers=2, rows=240, batch=240)
    loss = ready(case, prior=None)
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-2)
    truth = torch.arange(240) % 4
    for _ in range(100):
        optimizer.zero_grad()
        sum(case.terms(loss).values()).backward()
        optimizer.step()
    features = case.student.features
    answers = loss._answers(features, case.teachers, None)
    answer = sum(0.5 * one for one in answers)
    hidden = case.labels == UNLABELLED
    right = (case.student.head(answer).argmax(1) == truth)[hidden].float().mean()
    assert right.item() > 0.7, "answers say little of rows that had no label"


def test_skipping_is_exact_for_outputs_handed_over_whole():
    case = LossCase.of(teachers=3)
    loss = ready(case, importance_threshold=0.25)
    chosen = loss.select(case.student)
    assert [len(one) for one in on_selected_rows(case.teachers, chosen)] == chosen.sum(0).tolist()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"feature_weight": 0.0}, "`feature_weight` must be positive, got 0.0"),
        ({"task_weight": -1.0}, "`task_weight` must be 0 or more, got -1.0"),
        ({"task_weight": 0.0}, "`task_weight` must be positive with `stop_gradient`"),
        ({"importance": "guessed"}, "`importance` must be one of learned, prior, uniform, got 'guessed'"),
        ({"importance_threshold": 1.0}, r"`importance_threshold` must lie in \[0, 1\), got 1.0"),
        ({"top_k": 0}, "`top_k` must be at least 1, got 0"),
        ({"importance": "uniform", "top_k": 1}, "must be left out where all members are equally important"),
        ({"importance": "uniform", "importance_threshold": 0.2}, "Set `importance` to 'learned', or to 'prior' with"),
        ({"importance": "prior", "prior": None, "top_k": 2}, "`top_k` and `importance_threshold` must be left out"),
    ],
)
def test_bad_arguments(settings, message):
    with pytest.raises(InvalidArgumentError, match=message):
        CommitteeLoss(**settings)


def test_a_threshold_that_no_member_ever_reaches_is_refused():
    case = LossCase.of(teachers=3)
    largest = max(ready(case, importance="prior").weights())
    ready(case, importance="prior", importance_threshold=largest - 1e-3)
    ready(case, importance_threshold=0.99)  # what is learned may yet reach it
    said = f"`importance_threshold` must be at most {largest:.3g}, .* got 0.99. Lower it"
    with pytest.raises(InvalidArgumentError, match=said):
        ready(case, importance="prior", importance_threshold=0.99)


def test_a_student_without_a_linear_head_is_refused():
    case = LossCase.of()
    with pytest.raises(InvalidArgumentError, match="`model` must have a linear head for CommitteeLoss"):
        ready(replace(case, context=replace(case.context, student=replace(case.student, head=None))))


def test_no_teacher_and_no_setup_are_refused():
    case = LossCase.of()
    with pytest.raises(InvalidArgumentError, match="at least one teacher for CommitteeLoss"):
        ready(replace(case, context=replace(case.context, teachers=())))
    with pytest.raises(InvalidArgumentError, match="`setup` must be called"):
        CommitteeLoss()(case.student, case.teachers, case.labels)


def test_a_class_with_one_labelled_row_is_named():
    case = LossCase.of()
    labels = case.context.labels.clone()
    labels[labels == 2] = UNLABELLED
    labels[2] = 2
    with pytest.raises(DatasetError, match="'owl' has a single labelled row"):
        ready(replace(case, context=replace(case.context, labels=labels)))
