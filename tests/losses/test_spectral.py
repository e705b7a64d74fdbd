import doctest

import pytest
import torch

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import BSSLoss, InvertedProjectionLoss, LossContext, ProjectionLoss, SpectralLoss, spectral
from hf_ctkd.testing import LossCase, check_loss
from hf_ctkd.types import Hidden, LabelSpace, ModelOutputs, Needs

LABELS = torch.zeros(40, dtype=torch.long)


def term(loss, features):
    return sum(loss(ModelOutputs(features), (), LABELS[: len(features)]).values())


@pytest.mark.parametrize("function", ["square", "identity", "log", "ratio"])
def test_contract(function):
    check_loss(lambda: SpectralLoss(function=function))
    check_loss(lambda: SpectralLoss(3, function=function, layer=-2))


def test_contract_of_bss():
    check_loss(BSSLoss)
    check_loss(lambda: BSSLoss(k=3, layer=1))


def test_doctests():
    assert doctest.testmod(spectral).failed == 0


@pytest.mark.parametrize("shape", [(40, 6), (5, 9)])
def test_square_with_all_but_k_is_batch_spectral_shrinkage(shape):
    features = torch.randn(shape)
    for k in (1, 3):
        ours = term(SpectralLoss(min(shape) - k, function="square", weight=0.7, centred=False), features)
        assert torch.allclose(ours, term(BSSLoss(k, weight=0.7), features))
        smallest = torch.linalg.eigvalsh(features.double() @ features.double().T)[-min(shape) :][:k]
        assert ours.item() == pytest.approx(0.7 * float(smallest.sum()) / shape[0], rel=1e-4)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("square", 1 + 0.25),
        ("identity", 1.5),
        ("log", torch.tensor([2.0, 1.5]).log().sum().item()),
        ("ratio", 1.25 / 10.25),
    ],
)
def test_functions_of_the_singular_values_beyond_the_rank(function, expected):
    features = torch.diag(torch.tensor([1.0, 0.5, 3.0])) * 3**0.5
    assert term(SpectralLoss(1, function=function, weight=2.0, centred=False), features).item() == pytest.approx(
        2 * expected, rel=1e-5
    )


def test_centred_features_forget_their_mean():
    features = torch.randn(40, 6)
    centred = features - features.mean(0)
    for function in ("ratio", "square"):
        shifted = term(SpectralLoss(2, function=function), features + 9)
        assert shifted.item() == pytest.approx(term(SpectralLoss(2, function=function), centred).item(), rel=1e-4)
        uncentred = term(SpectralLoss(2, function=function, centred=False), centred)
        assert shifted.item() == pytest.approx(uncentred.item(), rel=1e-4)


def test_default_is_the_share_of_variance_beyond_the_rank():
    features = torch.randn(40, 6) + 5
    variances = torch.linalg.eigvalsh(torch.cov(features.T)).flip(0)
    assert term(SpectralLoss(2), features).item() == pytest.approx(
        float(variances[2:].sum() / variances.sum()), rel=1e-4
    )


def test_ratio_does_not_depend_on_scale_and_square_does():
    features = torch.randn(40, 6)
    for function, factor in (("ratio", 1.0), ("square", 100.0)):
        loss = SpectralLoss(2, function=function)
        assert torch.allclose(term(loss, 10 * features), factor * term(loss, features), rtol=1e-4)


@pytest.mark.parametrize("function", ["square", "identity", "log", "ratio"])
def test_gradient_agrees_with_finite_differences_also_where_singular_values_are_equal(function):
    loss = SpectralLoss(1, function=function, weight=1.0)
    features = torch.linalg.qr(torch.randn(8, 4)).Q * torch.tensor([3.0, 1.0, 1.0, 1.0])
    features.requires_grad_()
    term(loss, features).backward()
    direction = torch.randn(8, 4)
    step = 1e-2
    with torch.no_grad():
        slope = (term(loss, features + step * direction) - term(loss, features - step * direction)) / (2 * step)
    assert (features.grad * direction).sum().item() == pytest.approx(slope.item(), abs=2e-3)


@pytest.mark.parametrize("function", ["square", "identity", "log", "ratio"])
def test_directions_of_no_size_get_no_gradient(function):
    features = torch.randn(12, 5)
    features[:, 3:] = 0
    features.requires_grad_()
    term(SpectralLoss(1, function=function), features).backward()
    assert float(features.grad[:, 3:].abs().max()) < 1e-6
    features = torch.zeros(12, 5, requires_grad=True)
    term(SpectralLoss(1, function=function), features).backward()
    assert torch.isfinite(features.grad).all()


def test_rank_is_the_number_of_classes_unless_given():
    features = torch.randn(40, 6)
    loss = SpectralLoss()
    with pytest.raises(InvalidArgumentError, match="`rank` is None .* Call `setup`"):
        term(loss, features)
    loss.setup(LossContext(LABELS, LabelSpace(("a", "b", "c")), ModelOutputs(features)))
    assert torch.equal(term(loss, features), term(SpectralLoss(3), features))


def test_padding_of_a_layer_is_left_out():
    mask = torch.tensor([[True, True, False], [True, False, False]])
    values = torch.randn(2, 3, 4)
    student = ModelOutputs(torch.randn(2, 2), None, (Hidden(values, (3,), mask),))
    found = SpectralLoss(1, layer=0)(student, (), LABELS[:2])["spectral"]
    assert torch.allclose(found, term(SpectralLoss(1), values[mask]))


def test_needs_no_teacher():
    assert SpectralLoss().needs == BSSLoss().needs == Needs.NOTHING


def test_inverted_projection_splits_into_transfer_and_spectral_part():
    ours, theirs = torch.randn(60, 6), torch.randn(60, 3)
    loss = ProjectionLoss("inverted", distance="l2", normalise="none", weight=1.0)
    student, teacher = ModelOutputs(ours), ModelOutputs(theirs)
    loss.setup(LossContext(LABELS, LabelSpace(("a", "b")), student, (teacher,)))
    value = loss(student, (teacher,), LABELS)["projection"].item() * ours.numel()
    mapped = (theirs @ loss.heads[0].projection.weight.T).detach()
    range_of = torch.linalg.qr(mapped[:, :3]).Q
    range_of = torch.linalg.svd(mapped, full_matrices=False).U[:, :3] if range_of.shape[1] < 3 else range_of
    inside = range_of @ (range_of.T @ ours)
    transfer = float((inside - mapped).square().sum())
    outside = float((ours - inside).square().sum())
    assert value == pytest.approx(transfer + outside, rel=1e-4)
    spectral_part = len(ours) * term(SpectralLoss(3, function="square", centred=False), ours).item()
    assert spectral_part <= outside


def test_projection_on_the_best_teacher_costs_exactly_the_spectral_part():
    ours = torch.randn(60, 6)
    top = torch.linalg.svd(ours, full_matrices=False)
    theirs = top.U[:, :2]
    student, teacher = ModelOutputs(ours), ModelOutputs(theirs)
    loss = InvertedProjectionLoss("l2", normalise="none", weight=1.0)
    loss.setup(LossContext(LABELS, LabelSpace(("a", "b")), student, (teacher,)))
    with torch.no_grad():
        loss.heads[0].projection.weight.copy_((theirs.T @ ours).T)
    best = loss(student, (teacher,), LABELS)["inverted_projection"].item() * 6
    assert best == pytest.approx(term(SpectralLoss(2, function="square", centred=False), ours).item(), rel=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SpectralLoss(-1), "`rank` must not be negative, got -1"),
        (lambda: SpectralLoss(function="cube"), "`function` must be one of square, identity, log, ratio, got 'cube'"),
        (lambda: SpectralLoss(weight=-1.0), "`weight` must not be negative, got -1.0"),
        (lambda: BSSLoss(0), "`k` must be at least 1, got 0"),
        (lambda: BSSLoss(weight=float("nan")), "`weight` must not be negative, got nan"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(InvalidArgumentError, match=message):
        make()


def test_case_of_contract_has_more_directions_than_classes():
    case = LossCase.of()
    assert case.student.features.shape[1] > len(case.context.label_space)


@pytest.mark.parametrize(
    ("rows", "width", "rank", "centred", "warned"),
    [
        (8, 30, 7, True, True),
        (8, 30, 6, True, False),
        (8, 30, 7, False, False),
        (40, 10, 10, True, True),
        (40, 10, 9, True, False),
    ],
)
def test_a_penalty_that_is_zero_is_said_once(caplog, rows, width, rank, centred, warned):
    loss = SpectralLoss(rank, centred=centred)
    features = torch.randn(rows, width, generator=torch.Generator().manual_seed(0))
    with caplog.at_level("WARNING"):
        penalties = [float(term(loss, features)) for _ in range(2)]
    assert (penalties[0] < 1e-10) == warned and len(caplog.records) == warned
    if warned:
        assert f"`rank` leaves {rank} free. Raise `per_device_train_batch_size`" in caplog.text
