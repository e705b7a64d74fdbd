import pytest
import torch

from hf_ctkd.ot.iteration import Kernel, Limits, extrapolated, iterate


def inputs(shared=True, batch=3, n=6, m=5, epsilon=0.2):
    cost = torch.rand(*(() if shared else (batch,)), n, m, dtype=torch.float64)
    a, b = (torch.softmax(torch.randn(batch, size, dtype=torch.float64), -1) for size in (n, m))
    return Kernel.of(torch.exp(-cost / epsilon)), a, b


@pytest.mark.parametrize("shared", [True, False])
def test_a_kernel_acts_from_both_sides(shared):
    kernel, u, v = inputs(shared)
    each = kernel.values.expand(3, 6, 5)
    torch.testing.assert_close(kernel.rows(v), torch.einsum("bnm,bm->bn", each, v))
    torch.testing.assert_close(kernel.columns(u), torch.einsum("bnm,bn->bm", each, u))
    some = torch.tensor([2])
    torch.testing.assert_close(kernel.select(some).rows(v[some]), kernel.rows(v)[some])


@pytest.mark.parametrize("shared", [True, False])
def test_scaled_rows_and_columns_meet_the_marginals(shared):
    kernel, a, b = inputs(shared)
    found = iterate(kernel, a, b, b, Limits(1000, 1e-12, 5))
    # The kernel's scalings are what the sums ask for.
    plan = (a / found.rows)[:, :, None] * kernel.values * (b / found.columns)[:, None, :]
    torch.testing.assert_close(plan.sum(2), a, rtol=0, atol=1e-11)
    torch.testing.assert_close(plan.sum(1), b, rtol=0, atol=1e-11)
    assert found.sound.all() and (found.error <= 1e-12).all() and (found.steps < 1000).all()


def test_the_best_state_comes_back_when_steps_run_out():
    kernel, a, b = inputs(epsilon=0.02)
    errors = [float(iterate(kernel, a, b, b, Limits(steps, 1e-14, 1)).error.max()) for steps in (1, 3, 10, 30)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < errors[0] / 2


def test_extrapolation_takes_fewer_steps():
    kernel, a, b = inputs(batch=20, n=30, m=30, epsilon=0.03)
    plain = iterate(kernel, a, b, b, Limits(20_000, 1e-10, 1))  # no room for one between two checks
    quick = iterate(kernel, a, b, b, Limits(20_000, 1e-10, 5))
    assert quick.steps.double().mean() < 0.7 * plain.steps.double().mean()


def test_arithmetic_that_gives_out_is_told():
    kernel, a, b = inputs()
    values = kernel.values.clone()
    values[0] = 0.0  # as after an underflow: the first source reaches no target
    found = iterate(Kernel.of(values), a, b, b, Limits(100, 1e-9, 5))
    assert not found.sound.any()


def test_a_guard_tells_of_sums_that_underflow_could_reach():
    kernel, a, b = inputs()
    assert iterate(kernel, a, b, b, Limits(100, 1e-9, 5, guarded=True)).sound.all()
    faint = Kernel.of((kernel.values * 1e-300).clamp_min(1e-300))
    assert not iterate(faint, a, b, b, Limits(100, 1e-9, 5, guarded=True)).sound.any()


def test_extrapolation_finds_the_limit_of_a_geometric_sequence():
    """Two modes that die out: three differences cancel them."""
    limit, one, other = (torch.randn(2, 7, dtype=torch.float64) for _ in range(3))
    points = [limit + 0.9**k * one + 0.5**k * other for k in range(4)]
    found = extrapolated(points, torch.full((2, 7), 1 / 7, dtype=torch.float64))
    # The ridge of 1e-10 that keeps the weights finite is what is left.
    torch.testing.assert_close(found, limit, rtol=0, atol=1e-3)
    assert (points[-1] - limit).abs().max() > 0.1
