"""Relaxed marginals, also where they are held so tightly that plain scaling would creep."""

import math

import numpy as np
import ot
import pytest
import torch

from hf_ctkd.ot import OTProblem, Sinkhorn

INFINITE = math.inf


def problem(*, shared=True, batch=4, n=9, m=6, dtype=torch.float64):
    cost = torch.rand(*(() if shared else (batch,)), n, m, dtype=torch.float64)
    a, b = (torch.softmax(2 * torch.randn(batch, size, dtype=torch.float64), -1) for size in (n, m))
    return OTProblem(cost.to(dtype), a.to(dtype), b.to(dtype))


def divergence(p, q):
    return (torch.special.xlogy(p, p / q) - p + q).flatten(1).sum(1)


def primal(given, plan, epsilon, tau_a, tau_b):
    """What the plan costs with everything that is asked of it: no plan costs less than the value."""
    largest = given.cost.max() if given.shared else given.cost.amax((1, 2))
    total = (plan * given.cost).sum((1, 2)) + epsilon * largest * divergence(
        plan, given.a[:, :, None] * given.b[:, None]
    )
    for tau, of_plan, asked in ((tau_a, plan.sum(2), given.a), (tau_b, plan.sum(1), given.b)):
        total = total + (tau * largest * divergence(of_plan, asked) if tau < INFINITE else 0.0)
    return total


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    ("tau_a", "tau_b", "method"), [(0.5, 2.0, "sinkhorn"), (100.0, 100.0, "sinkhorn_translation_invariant")]
)
def test_value_and_plan_are_those_of_pot(shared, tau_a, tau_b, method):
    given = problem(shared=shared)
    found = Sinkhorn(0.1, tolerance=1e-12, tau_a=tau_a, tau_b=tau_b).solve(given)
    plans = []
    for row in range(4):
        cost = (given.cost if shared else given.cost[row]).numpy()
        a, b, largest = given.a[row].numpy(), given.b[row].numpy(), cost.max()
        plan = ot.unbalanced.sinkhorn_unbalanced(
            a, b, cost, 0.1 * largest, (tau_a * largest, tau_b * largest), method, "kl",
            c=np.outer(a, b), stopThr=1e-13, numItermax=20_000,
        )  # fmt: skip
        plans.append(torch.from_numpy(plan))
    peers = torch.stack(plans)
    torch.testing.assert_close(found.value, primal(given, peers, 0.1, tau_a, tau_b), rtol=1e-8, atol=0)
    torch.testing.assert_close(found.plan(), peers, rtol=0, atol=1e-9)


TIGHT = [(10.0, 10.0), (1e3, 1e3), (1e6, 1e6), (1e3, INFINITE), (INFINITE, 1e3), (0.05, 1e3)]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("epsilon", [0.1, 0.02, 0.004])
@pytest.mark.parametrize(("tau_a", "tau_b"), TIGHT)
def test_tight_marginals_take_about_as_many_steps_as_those_that_must_be_met(tau_a, tau_b, epsilon, shared):
    """Plain scaling takes `tau / epsilon` times as many, here 500 and more: the mass creeps to its place."""
    given = problem(shared=shared, n=30, m=20, batch=8)
    bound = Sinkhorn(epsilon, tolerance=1e-8).solve(given)
    found = Sinkhorn(epsilon, tolerance=1e-8, tau_a=tau_a, tau_b=tau_b).solve(given)
    assert found.steps.double().mean() <= 3 * bound.steps.double().mean() + 5
    # No gap between the dual that was maximised and the primal of its plan: the plan is the optimum.
    expected = primal(given, found.plan(), epsilon, tau_a, tau_b)
    torch.testing.assert_close(found.value, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("tau_a", "tau_b"), TIGHT)
def test_float32_agrees_with_float64(tau_a, tau_b, shared):
    given = problem(shared=shared, n=30, m=20, dtype=torch.float32)
    settings = {"tau_a": tau_a, "tau_b": tau_b}
    single = Sinkhorn(0.05, 200, **settings).solve(given)
    wide = OTProblem(given.cost.double(), given.a.double(), given.b.double())
    double = Sinkhorn(0.05, tolerance=1e-10, **settings).solve(wide)
    torch.testing.assert_close(single.value.double(), double.value, rtol=1e-5, atol=0)
    torch.testing.assert_close(single.plan().double(), double.plan(), rtol=0, atol=1e-5)


def test_an_infinite_tau_is_the_limit_of_large_ones():
    given = problem()
    bound = Sinkhorn(0.1, tolerance=1e-10).solve(given).value
    gaps = [bound - Sinkhorn(0.1, tolerance=1e-10, tau_a=tau, tau_b=tau).solve(given).value for tau in (1e1, 1e2, 1e3)]
    # Relaxation makes it cheaper, by about one over tau.
    assert all((gap > 0).all() for gap in gaps)
    torch.testing.assert_close(10 * gaps[1], gaps[0], rtol=0.1, atol=0)
    torch.testing.assert_close(10 * gaps[2], gaps[1], rtol=0.1, atol=0)


def test_mass_that_is_dear_to_move_is_left_where_it_is():
    """A source far from every target: relaxed, its mass is dropped rather than transported."""
    cost = torch.tensor([[0.0, 0.1], [1.0, 1.0]], dtype=torch.float64)
    even = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    kept = Sinkhorn(0.02, tau_a=0.05).solve(OTProblem(cost, even, even)).plan().sum(2)[0]
    assert kept[0] > 0.5 > 0.1 > kept[1]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("taus", [(0.5, INFINITE), (0.3, 1.0), (INFINITE, 100.0), (100.0, 1e3)])
def test_gradient_is_that_of_finite_differences(shared, taus):
    given = problem(shared=shared, batch=2, n=3, m=2)
    solver = Sinkhorn(0.1, tolerance=1e-13, tau_a=taus[0], tau_b=taus[1])

    def value(cost, a, b):
        return solver.solve(OTProblem(cost, torch.softmax(a, -1), torch.softmax(b, -1))).value

    inputs = [tensor.requires_grad_() for tensor in (given.cost.clone(), given.a.log(), given.b.log())]
    assert torch.autograd.gradcheck(value, inputs, eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("taus", [(0.5, 2.0), (100.0, INFINITE)])
def test_zero_mass_is_inert(taus):
    solver = Sinkhorn(0.1, tolerance=1e-12, tau_a=taus[0], tau_b=taus[1])
    given = problem(shared=False)
    pad = torch.nn.functional.pad
    cost = pad(given.cost, (0, 2, 0, 1), value=1e9).requires_grad_()
    a, b = pad(given.a, (0, 1)).requires_grad_(), pad(given.b, (0, 2)).requires_grad_()
    solution = solver.solve(OTProblem(cost, a, b))
    torch.testing.assert_close(solution.value.detach(), solver.solve(given).value, rtol=1e-10, atol=0)
    solution.value.sum().backward()
    assert (a.grad[:, -1:] == 0).all() and (b.grad[:, -2:] == 0).all()
    assert (cost.grad[:, -1:] == 0).all() and (cost.grad[:, :, -2:] == 0).all()


@pytest.mark.parametrize("epsilon", [0.1, 0.005])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("steps", [1, 7, 101, 5000])
def test_marginal_error_tells_how_far_the_plan_is_from_the_optimum(steps, shared, epsilon):
    given, tau_a, tau_b = problem(shared=shared), 1.0, 3.0
    found = Sinkhorn(epsilon, steps, tolerance=1e-6, tau_a=tau_a, tau_b=tau_b, on_failure="report").solve(given)
    (f, g), plan = found.potentials, found.plan()
    largest = (given.cost.max() if shared else given.cost.amax((1, 2))) * torch.ones(4, dtype=torch.float64)
    ask_a, ask_b = (
        mass * torch.exp(-potential / (tau * largest)[:, None])
        for mass, potential, tau in ((given.a, f, tau_a), (given.b, g, tau_b))
    )
    true = (plan.sum(2) - ask_a).abs().sum(1) + (plan.sum(1) - ask_b).abs().sum(1)
    torch.testing.assert_close(found.marginal_error, true, rtol=1e-4, atol=1e-11)
