from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import RelationshipMatchingLoss
from hf_ctkd.losses.relationship import semi_hard_tuples
from hf_ctkd.testing import LossCase, check_loss
from hf_ctkd.types import ModelOutputs


@pytest.mark.parametrize("stage", ["embedding", "both", "schedule"])
def test_contract(stage):
    check_loss(lambda: RelationshipMatchingLoss(stage), row_mean=False, reads_labels=True)


def test_contract_of_the_second_stage():
    check_loss(lambda: RelationshipMatchingLoss("classifier"))


def test_tuples_against_a_loop():
    points = F.normalize(torch.randn(12, 3), dim=1)
    distances = torch.cdist(points, points).square()
    labels = torch.arange(12) % 3
    found = semi_hard_tuples(distances, labels, 0.2)
    some = False
    for a in range(12):
        for p in range(12):
            negatives = {
                n
                for n in range(12)
                if labels[n] != labels[a] and distances[a, p] < distances[a, n] < distances[a, p] + 0.2
            }
            expected = negatives | {p} if a != p and labels[a] == labels[p] and negatives else set()
            assert set(found[a, p].nonzero()[:, 0].tolist()) == expected
            some |= bool(expected)
    assert some


def test_first_stage_is_least_where_the_student_sees_the_teachers_relations():
    case = LossCase.of(teachers=1)
    loss = RelationshipMatchingLoss("embedding", embedding_temperature=0.5)
    loss.setup(case.context)
    same = replace(case, student=case.teachers[0])
    assert case.terms(loss)["relationship_embedding"].item() > 0.01
    assert same.terms(loss)["relationship_embedding"].item() == pytest.approx(0, abs=1e-6)


def test_first_stage_reads_labelled_rows_alone_and_is_zero_without_them():
    case = LossCase.of()
    loss = RelationshipMatchingLoss("embedding")
    loss.setup(case.context)
    labelled = case.select((case.labels != -100).nonzero()[:, 0])
    assert torch.allclose(*(one.terms(loss)["relationship_embedding"] for one in (case, labelled)))
    nobody = replace(case, labels=torch.full_like(case.labels, -100))
    assert nobody.terms(loss)["relationship_embedding"].item() == 0


def test_second_stage_is_the_kl_from_nearness_to_class_centres():
    case = LossCase.of(teachers=1)
    loss = RelationshipMatchingLoss("classifier", classifier_temperature=1.5)
    loss.setup(case.context)
    features, labels = case.context.teachers[0].features, case.context.labels
    centres = torch.stack([features[labels == one].mean(0) for one in range(4)])
    target = (case.teachers[0].features @ centres.T / 1.5).softmax(1)
    expected = F.kl_div(case.student.logits.log_softmax(1), target, reduction="batchmean")
    assert torch.allclose(case.terms(loss)["relationship_classifier"], expected, rtol=1e-4)


def test_class_without_a_labelled_row_is_never_the_target():
    case = LossCase.of(teachers=1)
    labels = torch.where(case.context.labels == 2, -100, case.context.labels)
    loss = RelationshipMatchingLoss("classifier")
    loss.setup(replace(case.context, labels=labels))
    logits = torch.zeros(48, 4, requires_grad=True)
    loss(ModelOutputs(case.student.features, logits), case.teachers, case.labels)["relationship_classifier"].backward()
    assert (logits.grad[:, 2] > 0).all()


def test_schedule_goes_from_the_first_stage_to_the_second_and_survives_a_resume():
    case = LossCase.of()
    loss = RelationshipMatchingLoss("schedule", first_passes=2)
    loss.setup(case.context)

    def active():
        return [name for name, term in case.terms(loss).items() if term.item() != 0]

    loss.eval()
    assert active() == ["relationship_embedding"]
    loss.train()
    assert [active(), active()] == [["relationship_embedding"]] * 2
    state = loss.state_dict()
    loss = RelationshipMatchingLoss("schedule", first_passes=2)
    loss.setup(case.context)
    loss.load_state_dict(state)
    assert active() == ["relationship_classifier"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stage": "third"}, "`stage` must be one of embedding, classifier, both, schedule, got 'third'"),
        ({"first_passes": -1}, "`first_passes` must not be negative, got -1"),
        ({"margin": 0.0}, "`margin` must be positive, got 0.0"),
        ({"embedding_temperature": 0.0}, "`embedding_temperature` must be positive, got 0.0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        RelationshipMatchingLoss(**arguments)


def test_no_label_at_all():
    context = LossCase.of().context
    with pytest.raises(InvalidArgumentError, match="`labels` must hold labels .* every row is -100"):
        RelationshipMatchingLoss().setup(replace(context, labels=torch.full_like(context.labels, -100)))
