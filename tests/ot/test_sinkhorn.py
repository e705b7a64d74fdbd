import doctest
import sys

import numpy as np
import ot
import pytest
import torch

from hf_ctkd.errors import InvalidArgumentError, NotConvergedError
from hf_ctkd.ot import OTProblem, Sinkhorn, Status, exact


def histograms(rows, columns, spread=2.0):
    return torch.softmax(spread * torch.randn(rows, columns, dtype=torch.float64), -1)


def problem(*, shared=True, batch=4, n=9, m=6):
    cost = torch.rand(*(() if shared else (batch,)), n, m, dtype=torch.float64)
    return OTProblem(cost, histograms(batch, n), histograms(batch, m))


def peer_values(problem, epsilon):
    """The same objective from POT's solver in the log domain."""
    values = []
    for row in range(len(problem.a)):
        cost = (problem.cost if problem.shared else problem.cost[row]).numpy()
        a, b = problem.a[row].numpy(), problem.b[row].numpy()
        strength = epsilon * cost.max()
        plan = ot.bregman.sinkhorn_log(a, b, cost, strength, stopThr=1e-11, numItermax=20_000)
        divergence = (plan * np.log(np.maximum(plan, 1e-300) / np.outer(a, b))).sum()
        values.append((plan * cost).sum() + strength * divergence)
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("epsilon", [1.0, 0.1, 0.02])
def test_value_is_that_of_pot(shared, epsilon):
    given = problem(shared=shared)
    found = Sinkhorn(epsilon, tolerance=1e-10).solve(given).value
    torch.testing.assert_close(found, peer_values(given, epsilon), rtol=1e-9, atol=0)


@pytest.mark.parametrize("shared", [True, False])
def test_approaches_exact_as_epsilon_shrinks(shared):
    given = problem(shared=shared, batch=2, n=5, m=4)
    gaps = [Sinkhorn(e, 100_000, tolerance=1e-7).solve(given).value - exact(given) for e in (0.1, 0.01, 0.001)]
    assert (gaps[0] > gaps[1]).all()
    assert (gaps[1] > gaps[2]).all()
    # The gap is at most epsilon times the entropy, log(20) < 3.
    assert (gaps[2] < 3e-3).all()
    assert (gaps[2] > -1e-6).all()


@pytest.mark.parametrize("shared", [True, False])
def test_gradient_is_that_of_finite_differences(shared):
    given = problem(shared=shared, batch=2, n=4, m=3)
    solver = Sinkhorn(0.1, tolerance=1e-13)

    def value(cost, a, b):
        return solver.solve(OTProblem(cost, torch.softmax(a, -1), torch.softmax(b, -1))).value

    inputs = [tensor.requires_grad_() for tensor in (given.cost.clone(), given.a.log(), given.b.log())]
    assert torch.autograd.gradcheck(value, inputs, eps=1e-6, atol=1e-7)


def test_marginal_error_and_status_tell_the_truth():
    given = problem()
    solution = Sinkhorn(0.01, 20, tolerance=1e-6, on_failure="report").solve(given)
    plan = solution.plan()
    true = (plan.sum(2) - given.a).abs().sum(1) + (plan.sum(1) - given.b).abs().sum(1)
    torch.testing.assert_close(solution.marginal_error, true, rtol=1e-4, atol=1e-12)
    assert (solution.status == Status.OUT_OF_STEPS).any()
    with pytest.raises(NotConvergedError, match=r"stopped after 20 steps with marginal error .* Increase `max_steps`"):
        Sinkhorn(0.01, 20, tolerance=1e-6).solve(given)


def test_bad_epsilon_is_refused():
    with pytest.raises(InvalidArgumentError, match=r"`epsilon` must be positive, got 0.0"):
        Sinkhorn(0.0)


def test_examples_in_the_documentation():
    module = sys.modules[Sinkhorn.__module__]
    assert doctest.testmod(module).attempted > 0
    assert doctest.testmod(module).failed == 0
