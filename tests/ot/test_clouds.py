import doctest
import importlib
from types import SimpleNamespace

import numpy as np
import ot
import pytest
import torch

from hf_ctkd.errors import InvalidArgumentError, NotConvergedError
from hf_ctkd.ot import CloudProblem, CloudSinkhorn, OTProblem, Sinkhorn


@pytest.mark.parametrize("epsilon", [0.1, 0.01])
def test_agrees_with_the_dense_solver_block_by_block(epsilon):
    x, y = torch.randn(60, 5, dtype=torch.float64) + 100, torch.randn(40, 5, dtype=torch.float64) + 100.5
    cost = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square()
    dense = Sinkhorn(epsilon, tolerance=1e-10).solve(
        OTProblem(cost, torch.full((1, 60), 1 / 60).double(), torch.full((1, 40), 1 / 40).double())
    )
    # Seven rows a block, so that the last one is not full.
    found = CloudSinkhorn(epsilon, tolerance=1e-8, max_bytes=7 * 4 * 40 * 8).solve(CloudProblem(x, y))
    torch.testing.assert_close(found.value, dense.value[0], rtol=1e-7, atol=0)
    torch.testing.assert_close(found.cost, dense.cost[0], rtol=1e-5, atol=0)
    left, right = torch.eye(3)[torch.arange(60) % 3], torch.eye(2)[torch.arange(40) % 2]
    pooled = left.T.double() @ dense.plan()[0] @ right.double()
    torch.testing.assert_close(found.pooled(left, right), pooled, rtol=0, atol=1e-6)
    assert found.marginal_error <= 1e-8


@pytest.mark.parametrize("epsilon", [0.1, 0.02])
def test_agrees_with_pot(epsilon):
    x, y = torch.randn(80, 16, dtype=torch.float64), torch.randn(70, 16, dtype=torch.float64) + 0.3
    found = CloudSinkhorn(epsilon, tolerance=1e-9).solve(CloudProblem(x, y))
    cost = ot.dist(x.numpy(), y.numpy())
    strength, a, b = epsilon * cost.max(), np.full(80, 1 / 80), np.full(70, 1 / 70)
    assert found.epsilon == pytest.approx(strength)
    plan = ot.bregman.sinkhorn_log(a, b, cost, strength, stopThr=1e-12, numItermax=50_000)
    expected = (plan * cost).sum() + strength * (plan * np.log(plan * 80 * 70)).sum()
    assert float(found.value) == pytest.approx(expected, rel=1e-8)
    torch.testing.assert_close(found.pooled(torch.eye(80), torch.eye(70)), torch.from_numpy(plan), rtol=0, atol=1e-9)


def test_agrees_with_geomloss():
    """Which stops at a blur and not at an error, hence the tolerance: that of its own annealing."""
    geomloss = pytest.importorskip("geomloss")
    x, y = torch.randn(300, 16), torch.randn(250, 16) + 0.3
    found = CloudSinkhorn(0.05, tolerance=1e-5).solve(CloudProblem(x, y))
    loss = geomloss.SamplesLoss(
        "sinkhorn", p=2, blur=(found.epsilon / 2) ** 0.5, debias=False, scaling=0.95, backend="tensorized"
    )
    assert 2 * float(loss(x, y)) == pytest.approx(float(found.value), rel=1e-3)


def test_autocast_around_a_solve_leaves_its_precision():
    """Distances in bfloat16 are off by about an epsilon, and the true error would be far from the reported one."""
    x, y = torch.randn(60, 5), torch.randn(40, 5) + 0.5
    with torch.autocast("cpu", torch.bfloat16):
        solution = CloudSinkhorn(0.02, tolerance=1e-5).solve(CloudProblem(x, y))
        plan, moved = solution.pooled(torch.eye(60), torch.eye(40)), solution.cost
    cost = torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist").square()
    f, g = (potential.double() for potential in solution.potentials)
    true = torch.exp((f[:, None] + g - cost) / solution.epsilon) / (60 * 40)
    error = (true.sum(0) - 1 / 40).abs().sum() + (true.sum(1) - 1 / 60).abs().sum()
    # What is left is the rounding of potentials and distances to float32, in units of epsilon.
    assert float(error) == pytest.approx(solution.marginal_error, abs=2e-5)
    torch.testing.assert_close(plan.double(), true, rtol=1e-3, atol=1e-7)
    assert float(moved) == pytest.approx(float((true * cost).sum()), rel=1e-4)


def test_identical_points_cost_nothing():
    x = torch.ones(4, 2)
    assert float(CloudSinkhorn().solve(CloudProblem(x, x)).cost) == 0


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.ones(3), torch.ones(3, 2), r"`x` must be floating point \[points, width\], got torch.float32 \[3\]"),
        (torch.ones(3, 2), torch.ones(3, 2).long(), r"`y` must be floating point .* got torch.int64 \[3, 2\]"),
        (torch.ones(3, 2), torch.ones(3, 2) * torch.nan, r"`y` has a NaN or infinite entry"),
        (torch.ones(3, 2), torch.ones(3, 4), r"`x` and `y` must have one width and device, got \[3, 2\] on cpu"),
    ],
)
def test_bad_clouds_are_refused(x, y, message):
    with pytest.raises(InvalidArgumentError, match=message):
        CloudProblem(x, y)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epsilon": 0.0}, r"`epsilon` must be positive and finite, got 0.0"),
        ({"epsilon": float("inf")}, r"`epsilon` must be positive and finite, got inf"),
        ({"tolerance": -1.0}, r"`tolerance` must be positive and finite, got -1.0"),
        ({"max_steps": 0}, r"`max_steps` must be at least 1, got 0"),
        ({"max_bytes": 0}, r"`max_bytes` must be at least 1, got 0"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        CloudSinkhorn(**arguments)


@pytest.mark.parametrize("epsilon", [1e3, 1e7])
def test_the_value_at_a_large_epsilon_is_not_its_rounding(epsilon):
    x, y = torch.randn(20, 3), torch.randn(15, 3) + 1
    single = CloudSinkhorn(epsilon, tolerance=1e-6).solve(CloudProblem(x, y))
    double = CloudSinkhorn(epsilon, tolerance=1e-6).solve(CloudProblem(x.double(), y.double()))
    torch.testing.assert_close(single.value.double(), double.value, rtol=1e-6, atol=0)


@pytest.mark.parametrize("scale", [1e-30, 1e20])
def test_points_whose_squared_distances_leave_the_range_are_refused(scale):
    x, solver = torch.randn(5, 3), CloudSinkhorn()
    with pytest.raises(InvalidArgumentError, match=r"squared distances .* range of torch.float32.*Divide both by one"):
        solver.solve(CloudProblem(x * scale, (x + 1) * scale))
    assert solver.solve(CloudProblem(x.double() * scale, (x.double() + 1) * scale)).value > 0


def test_too_few_steps_are_an_error():
    with pytest.raises(NotConvergedError, match=r"stopped after 2 steps with marginal error .*Increase `max_steps`"):
        CloudSinkhorn(0.001, 2).solve(CloudProblem(torch.randn(20, 2), torch.randn(20, 2)))


def test_examples_in_the_documentation():
    assert doctest.testmod(importlib.import_module("hf_ctkd.ot.clouds")).failed == 0


def test_lists_are_refused_in_words():
    # Through their checks alone, as the tests also check types at run time.
    with pytest.raises(InvalidArgumentError, match="`x` must be a torch tensor, got list. Convert it"):
        CloudProblem.__post_init__(SimpleNamespace(x=[[1.0]], y=torch.ones(1, 1)))
    with pytest.raises(InvalidArgumentError, match="`epsilon` must be a number, got Tensor"):
        CloudSinkhorn.__post_init__(SimpleNamespace(epsilon=torch.tensor([0.1, 0.2]), tolerance=1e-5))
