import doctest
import itertools

import pytest
import torch

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import InvertedProjectionLoss, LossContext, ProjectionLoss, projection
from hf_ctkd.losses.distances import DISTANCES, LogSum
from hf_ctkd.testing import LossCase, check_loss
from hf_ctkd.types import Hidden, LabelSpace, ModelOutputs, Needs

SPACE = LabelSpace(("a", "b"))


def number(tensor):
    return tensor.detach().item()


def set_up(loss, student, *teachers):
    labels = torch.zeros(len(student), dtype=torch.long)
    loss.setup(LossContext(labels, SPACE, student, teachers, (SPACE,) * len(teachers)))
    labels = torch.zeros(len(student), dtype=torch.long)
    return lambda *batch: loss(batch[0], batch[1:], labels[: len(batch[0])])[loss.name] / loss.weight


@pytest.mark.parametrize("direction", ["inverted", "traditional", "orthogonal"])
def test_contract_by_direction(direction):
    check_loss(lambda: ProjectionLoss(direction))
    check_loss(lambda: ProjectionLoss(direction, layers=((0, 0), (-1, -1))))


@pytest.mark.parametrize("distance", DISTANCES)
def test_contract_by_distance(distance):
    check_loss(lambda: InvertedProjectionLoss(distance, layers=((-1, -1),)))


def test_doctests():
    assert doctest.testmod(projection).failed == 0


def train(loss, value, steps=300, rate=0.05):
    optimiser = torch.optim.Adam(loss.parameters(), lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        found = value()
        found.backward()
        optimiser.step()
    return number(value())


def test_best_inverted_projection_leaves_what_lies_outside_the_teachers_span():
    ours, theirs = torch.randn(40, 5), torch.randn(40, 7)
    loss = ProjectionLoss("inverted", distance="l2", normalise="none")
    value = set_up(loss, ModelOutputs(ours), ModelOutputs(theirs))
    best = train(loss, lambda: value(ModelOutputs(ours), ModelOutputs(theirs)))
    span = theirs @ torch.linalg.pinv(theirs)
    assert best * ours.numel() == pytest.approx(float((ours - span @ ours).square().sum()), rel=1e-3)


def test_best_traditional_projection_leaves_what_the_student_cannot_span():
    ours, theirs = torch.randn(40, 5), torch.randn(40, 7)
    loss = ProjectionLoss("traditional", distance="l2", normalise="none")
    value = set_up(loss, ModelOutputs(ours), ModelOutputs(theirs))
    best = train(loss, lambda: value(ModelOutputs(ours), ModelOutputs(theirs)))
    span = ours @ torch.linalg.pinv(ours)
    assert best * theirs.numel() == pytest.approx(float((theirs - span @ theirs).square().sum()), rel=1e-3)


def whitened(rows):
    rows = rows - rows.mean(0)
    return torch.linalg.qr(rows).Q * len(rows) ** 0.5


def test_singular_values_of_the_projection_between_whitened_sides_are_canonical_correlations():
    from sklearn.cross_decomposition import CCA

    shared = torch.randn(200, 2)
    ours = torch.cat([shared[:, :1] + 0.5 * torch.randn(200, 1), torch.randn(200, 2)], 1)
    theirs = torch.cat([shared + 0.1 * torch.randn(200, 2), torch.randn(200, 3)], 1)
    loss = ProjectionLoss("inverted", distance="l2", normalise="none")
    sides = ModelOutputs(whitened(ours)), ModelOutputs(whitened(theirs))
    value = set_up(loss, *sides)
    train(loss, lambda: value(*sides))
    found = torch.linalg.svdvals(loss.heads[0].projection.weight)
    pairs = CCA(n_components=3, max_iter=5000, tol=1e-9).fit(ours.numpy(), theirs.numpy()).transform(ours, theirs)
    expected = [
        float(torch.corrcoef(torch.tensor([x, y]).float())[0, 1])
        for x, y in zip(pairs[0].T.tolist(), pairs[1].T.tolist(), strict=True)
    ]
    assert found.tolist() == pytest.approx(sorted(expected, reverse=True), abs=5e-3)


def test_spectrum_tells_how_many_directions_are_used():
    loss = InvertedProjectionLoss()
    set_up(loss, ModelOutputs(torch.randn(8, 4)), ModelOutputs(torch.randn(8, 6)))
    with torch.no_grad():
        loss.heads[0].projection.weight.copy_(torch.outer(torch.ones(4), torch.arange(6.0)))
    name = "inverted_projection/teacher_0"
    assert loss.diagnostics() == pytest.approx({f"{name}/effective_rank": 1.0, f"{name}/top_share": 1.0})
    with torch.no_grad():
        loss.heads[0].projection.weight.copy_(torch.eye(4, 6))
    assert loss.diagnostics() == pytest.approx({f"{name}/effective_rank": 4.0, f"{name}/top_share": 0.25})


def test_inverted_may_ignore_teacher_directions_and_traditional_may_not():
    ours = torch.randn(64, 4)
    related = ModelOutputs(torch.cat([ours, 5 * torch.randn(64, 8)], 1))
    found = {}
    for direction in ("inverted", "traditional"):
        loss = ProjectionLoss(direction, distance="l2")
        value = set_up(loss, ModelOutputs(ours), related)
        found[direction] = train(loss, lambda value=value: value(ModelOutputs(ours), related))
    assert found["inverted"] < 0.01
    assert found["traditional"] > 0.5


def test_orthogonal_projection_stays_orthonormal_in_training():
    ours, theirs = ModelOutputs(torch.randn(32, 4)), ModelOutputs(torch.randn(32, 6))
    loss = ProjectionLoss("orthogonal")
    value = set_up(loss, ours, theirs)
    before = number(value(ours, theirs))
    assert train(loss, lambda: value(ours, theirs), steps=30) < before
    weight = loss.heads[0].projection.weight
    assert torch.allclose(weight.T @ weight, torch.eye(4), atol=1e-5)


def test_batch_norm_on_both_sides_forbids_the_trivial_solution():
    zero = ModelOutputs(torch.zeros(32, 4))
    teacher = ModelOutputs(torch.randn(32, 6))
    for normalise, solved in (("none", True), ("batch", False)):
        loss = InvertedProjectionLoss("l2", normalise=normalise)
        value = set_up(loss, zero, teacher)
        with torch.no_grad():
            loss.heads[0].projection.weight.mul_(1e-2)
        assert (number(value(zero, teacher)) < 1e-2) == solved


def test_scale_of_the_teachers_features_does_not_matter():
    ours, theirs = torch.randn(32, 4), torch.randn(32, 6)
    loss = InvertedProjectionLoss()
    value = set_up(loss, ModelOutputs(ours), ModelOutputs(theirs))
    small = number(value(ModelOutputs(ours), ModelOutputs(theirs)))
    assert number(value(ModelOutputs(ours), ModelOutputs(1000 * theirs + 5))) == pytest.approx(small, rel=1e-3)


def test_evaluation_uses_running_statistics():
    loss = InvertedProjectionLoss("l2")
    student, teacher = ModelOutputs(torch.randn(64, 4) + 3), ModelOutputs(torch.randn(64, 6))
    value = set_up(loss, student, teacher)
    for _ in range(60):
        trained = number(value(student, teacher))
    loss.eval()
    assert number(value(student, teacher)) == pytest.approx(trained, rel=0.05)
    some = torch.arange(1)
    assert torch.isfinite(value(student.select(some), teacher.select(some)))


def test_several_teachers_and_layers_have_one_projection_each():
    case = LossCase.of(2, teachers=3)
    loss = ProjectionLoss(layers=((0, 0), (1, 1)))
    loss.setup(case.context)
    assert [tuple(link.projection.weight.shape) for link in loss.heads] == [
        (8, 5),
        (8, 5),
        (8, 7),
        (8, 7),
        (8, 9),
        (8, 9),
    ]
    names = {name.rsplit("/", 1)[0] for name in loss.diagnostics()}
    assert names == {f"projection/teacher_{t}/layer_{n}" for t, n in itertools.product(range(3), range(2))}
    both = number(sum(case.terms(loss).values()))
    one_by_one = []
    for place, teacher in enumerate(case.teachers):
        for place_in_pair in range(2):
            single = ProjectionLoss(layers=((0, 0),))
            single.setup(
                LossContext(case.labels, SPACE, _layer(case.student, place_in_pair), (_layer(teacher, place_in_pair),))
            )
            single.heads[0].load_state_dict(loss.heads[2 * place + place_in_pair].state_dict())
            terms = single(_layer(case.student, place_in_pair), (_layer(teacher, place_in_pair),), case.labels)
            one_by_one.append(number(terms["projection"]))
    assert both == pytest.approx(sum(one_by_one) / 6, rel=1e-5)


def _layer(outputs, number):
    return ModelOutputs(outputs.features, outputs.logits, (outputs.hidden[number],))


def test_layers_of_images_on_unequal_grids():
    def image(width, side):
        return ModelOutputs(torch.randn(8, 3), None, (Hidden(torch.randn(8, side * side, width), (side, side)),))

    student, teacher = image(4, 6), image(5, 3)
    loss = InvertedProjectionLoss("at", layers=((-1, -1),))
    value = set_up(loss, student, teacher)
    assert torch.isfinite(value(student, teacher))


def test_layers_of_texts_under_unequal_tokenizers_are_averaged():
    def text(width, positions):
        mask = torch.arange(positions) < torch.tensor([[positions], [2]] * 8)
        return ModelOutputs(torch.randn(16, 3), None, (Hidden(torch.randn(16, positions, width), (positions,), mask),))

    student, teacher = text(4, 6), text(5, 9)
    loss = InvertedProjectionLoss("l2", layers=((-1, -1),))
    value = set_up(loss, student, teacher)
    pooled = [
        (layer.values * layer.mask[..., None]).sum(1) / layer.mask.sum(1, keepdim=True)
        for layer in (student.hidden[0], teacher.hidden[0])
    ]
    features = InvertedProjectionLoss("l2")
    direct = set_up(features, *map(ModelOutputs, pooled))
    features.load_state_dict(loss.state_dict())
    assert number(value(student, teacher)) == pytest.approx(number(direct(*map(ModelOutputs, pooled))), rel=1e-5)


@pytest.mark.parametrize(("distance", "weight"), [("l2", 0.1), ("logsum", 0.03), ("pkt", 1.0)])
def test_weight_is_that_of_the_distance_unless_given(distance, weight):
    case = LossCase.of(teachers=1)
    terms = []
    for loss in (InvertedProjectionLoss(distance), InvertedProjectionLoss(distance, weight=1.0)):
        loss.setup(case.context)
        terms.append(number(case.terms(loss)["inverted_projection"]))
    assert terms[0] == pytest.approx(weight * terms[1], rel=1e-5)
    assert InvertedProjectionLoss().distance == ProjectionLoss("traditional").distance == "l2"


def test_settings_name_the_distance():
    assert ProjectionLoss(distance=LogSum(5.0), layers=[(0, 1)]).settings() == {
        "direction": "inverted",
        "distance": "LogSum(alpha=5.0)",
        "layers": [[0, 1]],
        "normalise": "batch",
        "weight": 0.03,
    }


def test_reads_features_or_layers():
    assert InvertedProjectionLoss().needs == Needs.TEACHER | Needs.FEATURES
    loss = InvertedProjectionLoss(layers=((1, 2),))
    assert (loss.needs, loss.hidden) == (Needs.TEACHER | Needs.HIDDEN, ((1, 2),))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"direction": "sideways"}, "`direction` must be one of inverted, traditional, orthogonal, got 'sideways'"),
        ({"distance": "far"}, "`distance` must be one of l2, logsum, .*, got 'far'"),
        ({"normalise": "some"}, "`normalise` must be one of batch, layer, none, got 'some'"),
        ({"layers": ()}, "`layers` must hold at least one pair"),
        ({"weight": 0.0}, "`weight` must be a positive number, got 0.0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        ProjectionLoss(**arguments)


def test_bad_contexts():
    student = ModelOutputs(torch.randn(4, 3))
    with pytest.raises(InvalidArgumentError, match="`teachers` must hold at least one teacher for InvertedProjection"):
        InvertedProjectionLoss().setup(LossContext(torch.zeros(4, dtype=torch.long), SPACE, student))
    with pytest.raises(InvalidArgumentError, match="`distance` at compares positions .* Pass `layers`"):
        set_up(InvertedProjectionLoss("at"), student, student)
    with pytest.raises(InvalidArgumentError, match="`student` must hand over 1 hidden layers for `layers`, got 0"):
        set_up(InvertedProjectionLoss(layers=((-1, -1),)), student, student)
