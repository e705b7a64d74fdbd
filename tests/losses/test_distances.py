import math

import pytest
import torch
import torch.nn.functional as F

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses.distances import DISTANCES, LogSum


def made(name, width=3):
    distance = DISTANCES[name]()
    distance.setup(width)
    return distance


@pytest.fixture
def sides():
    return torch.randn(7, 4, 3), torch.randn(7, 4, 3)


@pytest.mark.parametrize("name", sorted(set(DISTANCES) - {"logsum", "vid"}))
def test_equal_sides_are_at_no_distance(name, sides):
    assert made(name)(sides[0], sides[0]).item() == pytest.approx(0, abs=1e-6)
    assert made(name)(*sides).item() > 1e-3


def test_pointwise_values(sides):
    ours, theirs = (side.flatten(0, 1) for side in sides)
    gap = ours - theirs
    assert made("l2")(*sides).item() == pytest.approx(gap.square().mean().item())
    assert made("logsum")(*sides).item() == pytest.approx(gap.pow(4).sum().log().item() - math.log(28), rel=1e-5)
    small = gap.abs() < 1
    assert made("smooth_l1")(*sides).item() == pytest.approx(
        torch.where(small, gap.square() / 2, gap.abs() - 0.5).mean().item()
    )
    cosine = (ours * theirs).sum(1) / ours.norm(dim=1) / theirs.norm(dim=1)
    assert made("cosine")(*sides).item() == pytest.approx(1 - cosine.mean().item())


def test_logsum_follows_the_largest_difference_whatever_the_scale(sides):
    for scale in (1.0, 100.0):
        ours = (scale * sides[0]).requires_grad_()
        LogSum()(ours, scale * sides[1]).backward()
        slope = (ours.grad * (sides[0] - sides[1]) * scale).sum()
        assert slope.item() == pytest.approx(4, rel=1e-4)
    assert torch.isfinite(LogSum()(sides[0], sides[0]))
    with pytest.raises(InvalidArgumentError, match="`alpha` must be positive, got 0.0"):
        LogSum(0.0)


def test_vid_learns_the_variance_of_each_feature():
    ours = torch.randn(500, 1, 2) * torch.tensor([0.5, 2.0])
    distance = made("vid", 2)
    start = F.softplus(distance.raw_variance.detach())
    assert torch.allclose(start, torch.full((2,), 5.0))
    optimiser = torch.optim.Adam(distance.parameters(), lr=0.3)
    for _ in range(80):
        optimiser.zero_grad()
        distance(ours, torch.zeros_like(ours)).backward()
        optimiser.step()
    learned = F.softplus(distance.raw_variance.detach())
    assert learned.tolist() == pytest.approx(ours.square().mean((0, 1)).tolist(), rel=0.05)


def test_attention_compares_where_the_energy_lies(sides):
    ours, theirs = (side.square().mean(2) for side in sides)
    expected = (ours / ours.norm(dim=1, keepdim=True) - theirs / theirs.norm(dim=1, keepdim=True)).square().sum(1)
    assert made("at")(*sides).item() == pytest.approx(expected.mean().item(), rel=1e-5)
    assert made("at")(sides[0], -5 * sides[0]).item() == pytest.approx(0, abs=1e-6)


def test_pkt_against_a_loop(sides):
    def conditional(rows):
        rows = rows.flatten(1)
        kernel = [[(1 + float(F.cosine_similarity(a, b, dim=0))) / 2 for b in rows] for a in rows]
        return [[value / sum(line) for value in line] for line in kernel]

    ours, theirs = conditional(sides[0]), conditional(sides[1])
    divergence = sum(t * math.log(t / o) for q, p in zip(ours, theirs, strict=True) for o, t in zip(q, p, strict=True))
    assert made("pkt")(*sides).item() == pytest.approx(divergence / 7, rel=1e-3)


def test_sp_against_a_loop(sides):
    def similarity(rows):
        gram = rows.flatten(1) @ rows.flatten(1).T
        return gram / gram.norm(dim=1, keepdim=True)

    expected = (similarity(sides[0]) - similarity(sides[1])).square().sum() / 7
    assert made("sp")(*sides).item() == pytest.approx(expected.item(), rel=1e-5)


def test_rkd_against_a_loop(sides):
    def relations(rows):
        rows = rows.flatten(1)
        far = [[float((a - b).norm()) for b in rows] for a in rows]
        mean = sum(map(sum, far)) / 42
        angles = [
            [
                [
                    0.0 if i in (j, k) else float(F.cosine_similarity(rows[j] - rows[i], rows[k] - rows[i], dim=0))
                    for k in range(7)
                ]
                for j in range(7)
            ]
            for i in range(7)
        ]
        return torch.tensor(far) / mean, torch.tensor(angles)

    (near, angle), (near_target, angle_target) = map(relations, sides)
    expected = F.smooth_l1_loss(near, near_target) + 2 * F.smooth_l1_loss(angle, angle_target)
    assert made("rkd")(*sides).item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("name", ["pkt", "rkd", "sp"])
def test_relations_do_not_change_under_rotation(name, sides):
    turn = torch.linalg.qr(torch.randn(3, 3)).Q
    assert made(name)(sides[0], sides[0] @ turn).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("name", DISTANCES)
def test_equal_rows_and_padding_keep_gradients_finite(name):
    ours = torch.ones(5, 3, 3, requires_grad=True)
    mask = torch.tensor([[True, True, False]] * 5)
    made(name)(ours, torch.randn(5, 3, 3), mask).backward()
    assert torch.isfinite(ours.grad).all()
    assert float(ours.grad[:, 2].abs().max()) == 0
