from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import LossContext, RelationshipMatchingLoss
from hf_ctkd.losses.relationship import semi_hard_tuples
from hf_ctkd.testing import LossCase, check_loss
from hf_ctkd.types import LabelSpace, ModelOutputs


def first_phase(**arguments):
    return RelationshipMatchingLoss(0.5, **arguments)


def second_phase(**arguments):
    return RelationshipMatchingLoss(0.0, **arguments)


def test_contract_of_the_first_phase():
    # Its factor makes the rounding of 8-bit mantissas a thousand times larger.
    check_loss(lambda: first_phase(embedding_weight=1.0), row_mean=False, reads_labels=True)


@pytest.mark.parametrize("unlabelled_rows", ["gated", "all", "none"])
def test_contract_of_the_second_phase(unlabelled_rows):
    check_loss(lambda: second_phase(unlabelled_rows=unlabelled_rows), reads_labels=unlabelled_rows != "all")


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


def test_first_phase_is_least_where_the_student_sees_the_teachers_relations():
    case = LossCase.of(teachers=1)
    loss = first_phase(embedding_temperature=0.5)
    loss.setup(case.context)
    same = replace(case, student=replace(case.teachers[0], logits=case.student.logits))
    assert case.terms(loss)["relationship_embedding"].item() > 10
    assert same.terms(loss)["relationship_embedding"].item() == pytest.approx(0, abs=1e-3)


def test_first_phase_on_one_triplet_worked_out_by_hand():
    # Unit vectors at 0, 80 and 85 degrees; the first two are of one class, so that the third is semi-hard.
    angles = torch.deg2rad(torch.tensor([0.0, 80.0, 85.0]))
    student = torch.stack([angles.cos(), angles.sin()], 1)
    teacher = torch.deg2rad(torch.tensor([0.0, 20.0, 120.0]))
    teacher = torch.stack([teacher.cos(), teacher.sin()], 1) * torch.tensor([[1.0], [2.0], [5.0]])
    labels = torch.tensor([0, 0, 1])
    space = LabelSpace(("a", "b"))
    loss = first_phase(embedding_weight=3.0, embedding_temperature=2.0, unlabelled_rows="none")
    outputs = ModelOutputs(student, torch.zeros(3, 2))
    loss.setup(LossContext(labels, space, outputs, (ModelOutputs(teacher),), (space,), steps=4))

    def nearness(first, second):
        chords = 2 * torch.deg2rad(torch.tensor([first, second]) / 2).sin()
        return (-chords / 2.0).softmax(0)

    # Anchor 0 with its positive 1 and negative 2; anchor 1 has no negative farther than its positive.
    predicted, target = nearness(80.0, 85.0), nearness(20.0, 120.0)
    expected = 3.0 * (target * (target / predicted).log()).sum()
    terms = loss(outputs, (ModelOutputs(teacher),), labels)
    assert terms["relationship_embedding"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_first_phase_reads_labelled_rows_alone_and_is_zero_without_them():
    case = LossCase.of()
    loss = first_phase()
    loss.setup(case.context)
    labelled = case.select((case.labels != -100).nonzero()[:, 0])
    assert torch.allclose(*(part.terms(loss)["relationship_embedding"] for part in (case, labelled)))
    unlabelled = replace(case, labels=torch.full_like(case.labels, -100))
    assert unlabelled.terms(loss)["relationship_embedding"].item() == 0


def test_second_phase_is_the_kl_from_products_with_unit_centres():
    case = LossCase.of(teachers=1)
    loss = second_phase(classifier_temperature=1.5, unlabelled_rows="all", weight=2.0)
    loss.setup(case.context)
    features, labels = case.context.teachers[0].features, case.context.labels
    centres = torch.stack([features[labels == one].mean(0) for one in range(4)])
    target = (case.teachers[0].features @ F.normalize(centres, dim=1).T / 1.5).softmax(1)
    expected = 2.0 * F.kl_div(case.student.logits.log_softmax(1), target, reduction="batchmean")
    assert torch.allclose(case.terms(loss)["relationship_classifier"], expected, rtol=1e-4)


def test_length_of_a_classs_features_does_not_matter():
    case = LossCase.of(teachers=1)
    scaled = case.context.teachers[0].features * torch.where(case.context.labels == 1, 1000.0, 1.0)[:, None]
    for features in (case.context.teachers[0].features, scaled):
        loss = second_phase()
        loss.setup(replace(case.context, teachers=(ModelOutputs(features),)))
        assert torch.allclose(loss.centres_0.norm(dim=1), torch.ones(4))


@pytest.mark.parametrize("times", [1, 3])
def test_without_unlabelled_rows_it_is_a_mean_over_labelled_rows_in_expectation(times):
    case = LossCase.of(teachers=1)
    loss = second_phase(unlabelled_rows="none")
    times_read = torch.where(case.context.labels == -100, 1, times)
    loss.setup(replace(case.context, times_read=times_read))
    whole = replace(case, student=case.context.student, teachers=case.context.teachers, labels=case.context.labels)
    labelled = whole.select((whole.labels != -100).nonzero()[:, 0])
    epoch = whole.select(torch.arange(len(whole.labels)).repeat_interleave(times_read))
    every = second_phase(unlabelled_rows="all")
    every.setup(case.context)
    torch.testing.assert_close(
        epoch.terms(loss)["relationship_classifier"], labelled.terms(every)["relationship_classifier"]
    )


def test_gate_opens_for_a_teacher_that_beats_the_input_and_the_untrained_student():
    case = LossCase.of(teachers=2)
    labels = case.context.labels
    noise = torch.randn(len(labels), 5)
    context = replace(case.context, teachers=(case.context.teachers[0], ModelOutputs(noise)))
    loss = second_phase()
    loss.setup(context)
    assert (loss.teaches_unlabelled(0), loss.teaches_unlabelled(1)) == (True, False)
    assert list(loss.diagnostics()) == [
        "relationship/accuracy_0",
        "relationship/accuracy_1",
        "relationship/accuracy_without_teacher",
    ]
    informed = F.one_hot(labels.clamp_min(0), 4).float()  # nothing is better than the labels themselves
    for better in ({"inputs": ModelOutputs(informed)}, {"student_rows": ModelOutputs(informed)}):
        loss = second_phase()
        loss.setup(replace(context, **better))
        assert not loss.teaches_unlabelled(0)
        assert loss.diagnostics()["relationship/accuracy_without_teacher"] == 1.0


def test_gate_needs_something_to_compare_with():
    context = replace(LossCase.of().context, inputs=None, student_rows=None)
    with pytest.raises(InvalidArgumentError, match="`unlabelled_rows` is gated, but .* choose 'none'"):
        second_phase().setup(context)


def test_class_without_a_labelled_row_is_never_the_target():
    case = LossCase.of(teachers=1)
    labels = torch.where(case.context.labels == 2, -100, case.context.labels)
    loss = second_phase(unlabelled_rows="all")
    loss.setup(replace(case.context, labels=labels))
    logits = torch.zeros(48, 4, requires_grad=True)
    loss(ModelOutputs(case.student.features, logits), case.teachers, case.labels)["relationship_classifier"].backward()
    assert (logits.grad[:, 2] > 0).all()


def test_phases_follow_the_optimiser_steps_and_survive_a_resume():
    case = LossCase.of()
    loss = RelationshipMatchingLoss(0.2)
    loss.setup(case.context)
    assert case.context.steps == 10

    def active():
        return [name for name, term in case.terms(loss).items() if term.item() != 0], loss.task_factor()

    assert [active(), active(), active()] == [(["relationship_embedding"], 0.0)] * 3
    loss.after_step(lambda tensor: tensor)
    assert active() == (["relationship_embedding"], 0.0)
    loss.after_step(lambda tensor: tensor)
    assert active() == (["relationship_classifier"], 1.0)
    state = loss.state_dict()
    loss = RelationshipMatchingLoss(0.2)
    loss.setup(case.context)
    loss.load_state_dict(state)
    assert active() == (["relationship_classifier"], 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"embedding_share": 1.0}, r"`embedding_share` must lie in \[0, 1\), got 1.0"),
        ({"unlabelled_rows": "some"}, "`unlabelled_rows` must be one of gated, all, none, got 'some'"),
        ({"margin": 0.0}, "`margin` must be positive, got 0.0"),
        ({"embedding_temperature": 0.0}, "`embedding_temperature` must be positive, got 0.0"),
        ({"weight": 0.0}, "`weight` must be a positive number, got 0.0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        RelationshipMatchingLoss(**arguments)


def test_no_label_at_all_or_no_number_of_steps():
    context = LossCase.of().context
    with pytest.raises(InvalidArgumentError, match="`labels` must hold labels .* every row is -100"):
        RelationshipMatchingLoss().setup(replace(context, labels=torch.full_like(context.labels, -100)))
    with pytest.raises(InvalidArgumentError, match="`steps` of the context is None. Pass the number"):
        RelationshipMatchingLoss().setup(replace(context, steps=None))
