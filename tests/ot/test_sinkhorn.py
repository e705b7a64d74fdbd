import doctest
import subprocess
import sys
from pathlib import Path

import numpy as np
import ot
import pytest
import torch

from hf_ctkd.errors import InvalidArgumentError, NotConvergedError
from hf_ctkd.ot import OTProblem, Sinkhorn, Status, exact

ROOT = Path(__file__).parents[2]


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


def check_gradient(given, solver):
    def value(cost, a, b):
        return solver.solve(OTProblem(cost, torch.softmax(a, -1), torch.softmax(b, -1))).value

    inputs = [tensor.requires_grad_() for tensor in (given.cost.clone(), given.a.log(), given.b.log())]
    assert torch.autograd.gradcheck(value, inputs, eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("taus", [{}, {"tau_a": 0.5}, {"tau_a": 0.3, "tau_b": 1.0}])
def test_gradient_is_that_of_finite_differences(shared, taus):
    check_gradient(problem(shared=shared, batch=2, n=3, m=2), Sinkhorn(0.1, tolerance=1e-13, **taus))


def test_marginal_error_and_status_tell_the_truth():
    given = problem()
    solution = Sinkhorn(0.01, 20, tolerance=1e-6, on_failure="report").solve(given)
    plan = solution.plan()
    true = (plan.sum(2) - given.a).abs().sum(1) + (plan.sum(1) - given.b).abs().sum(1)
    torch.testing.assert_close(solution.marginal_error, true, rtol=1e-4, atol=1e-12)
    assert (solution.status == Status.OUT_OF_STEPS).any()
    with pytest.raises(NotConvergedError, match=r"stopped after 20 steps with marginal error .* Increase `max_steps`"):
        Sinkhorn(0.01, 20, tolerance=1e-6).solve(given)


def test_a_value_that_overflows_is_never_said_to_have_converged():
    cost, shares = torch.tensor([[0.0, 3e38], [3e38, 0.0]]), torch.full((1, 2), 0.5)
    solution = Sinkhorn(10.0, 100, on_failure="report").solve(OTProblem(cost, shares, shares))
    assert not solution.value.isfinite().any() and (solution.status == Status.OUT_OF_STEPS).all()
    with pytest.raises(NotConvergedError, match=r"outside of the range of torch.float32. Divide `cost` by its largest"):
        Sinkhorn(10.0, 100).solve(OTProblem(cost, shares, shares))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("epsilon", [1e3, 1e7, torch.tensor([1e3, 1e7, 0.1, 1e9])])
def test_the_value_at_a_large_epsilon_is_not_its_rounding(shared, epsilon):
    given = problem(shared=shared, n=5, m=4)
    single = OTProblem(given.cost.float(), given.a.float(), given.b.float())
    double = Sinkhorn(epsilon, tolerance=1e-6).solve(given).value
    torch.testing.assert_close(Sinkhorn(epsilon).solve(single).value.double(), double, rtol=1e-6, atol=0)


@pytest.mark.parametrize("epsilon", [0.05, 0.001])
def test_float32_reaches_the_value_of_float64(epsilon):
    for shared in (True, False):
        given = problem(shared=shared, n=20, m=10)
        single = Sinkhorn(epsilon, 100_000).solve(OTProblem(given.cost.float(), given.a.float(), given.b.float()))
        double = Sinkhorn(epsilon, 100_000, tolerance=1e-9).solve(given)
        torch.testing.assert_close(single.value.double(), double.value, rtol=1e-6, atol=0)
        assert single.value.dtype == single.potentials[0].dtype == torch.float32
        assert (single.marginal_error <= 1e-5).all()


def test_bfloat16_inputs_are_solved_in_float32_and_get_their_gradient():
    given = problem(n=20, m=10)
    cost, a, b = (tensor.bfloat16().requires_grad_() for tensor in (given.cost, given.a, given.b))
    value = Sinkhorn(0.05).solve(OTProblem(cost, a, b)).value
    # Eight bits of mantissa, and costs whose rounding is averaged.
    torch.testing.assert_close(value.double(), Sinkhorn(0.05).solve(given).value, rtol=1e-2, atol=0)
    value.sum().backward()
    assert cost.grad.dtype == a.grad.dtype == b.grad.dtype == torch.bfloat16


def test_one_epsilon_for_each_problem():
    epsilons = torch.tensor([0.1, 0.02, 0.1, 1.0], dtype=torch.float64)
    for given in (problem(), problem(shared=False)):
        together = Sinkhorn(epsilons, tolerance=1e-9).solve(given).value
        alone = [float(Sinkhorn(float(e), tolerance=1e-9).solve(given).value[row]) for row, e in enumerate(epsilons)]
        torch.testing.assert_close(together, torch.tensor(alone, dtype=torch.float64), rtol=1e-8, atol=0)


def test_warm_start_takes_fewer_steps_to_the_same_value():
    given = problem(batch=16, n=30, m=20)
    solver = Sinkhorn(0.02, tolerance=1e-9)
    cold = solver.solve(given)
    again = solver.solve(given, warm_start=cold.potentials)
    assert again.steps.double().mean() < cold.steps.double().mean() / 2
    torch.testing.assert_close(cold.value, again.value, rtol=1e-9, atol=0)


def test_finished_problems_stop_while_others_go_on():
    given = problem(batch=4, n=20, m=20)
    b = torch.cat([torch.eye(20, dtype=torch.float64)[:1], given.b[1:]])  # one in four: too few to leave the batch
    steps = Sinkhorn(0.02, tolerance=1e-9).solve(OTProblem(given.cost, given.a, b)).steps
    assert steps[0] == 5  # the first look
    assert (steps[1:] > 10).all()


@pytest.mark.parametrize("shared", [True, False])
def test_problems_on_which_scaling_creeps_are_solved_with_the_default_steps(shared):
    """At a thousandth of the largest cost plain scaling took more than 30,000 steps for some of these."""
    for seed in range(8):
        torch.manual_seed(seed)
        given = problem(shared=shared, batch=16, n=30, m=20)
        steps = Sinkhorn(0.001).solve(OTProblem(given.cost.float(), given.a.float(), given.b.float())).steps
        assert steps.max() < 3000 and steps.double().mean() < 500


@pytest.mark.parametrize("every", [1, 2, 3, 5, 7, 50])
def test_any_interval_between_checks_gives_the_value(every):
    given = problem()
    solution = Sinkhorn(0.05, tolerance=1e-9, check_every=every).solve(given)
    torch.testing.assert_close(solution.value, peer_values(given, 0.05), rtol=1e-8, atol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epsilon": 0.0}, r"`epsilon` must be positive and finite, got 0.0"),
        ({"epsilon": float("nan")}, r"`epsilon` must be positive and finite, got nan"),
        ({"epsilon": float("inf")}, r"`epsilon` must be positive and finite, got inf"),
        ({"epsilon": torch.tensor([0.1, float("inf")])}, r"`epsilon` must be positive and finite, got tensor"),
        ({"epsilon": torch.tensor([0.1, float("nan")])}, r"`epsilon` must be positive and finite, got tensor"),
        ({"tolerance": 0.0}, r"`tolerance` must be positive, got 0.0"),
        ({"tau_a": -1.0}, r"`tau_a` must be positive, got -1.0"),
        ({"tau_a": 1e39}, r"`tau_a` must be between 1e-12 and 1e\+12, or infinite for a marginal that must be met"),
        ({"tau_b": 1e-300}, r"`tau_b` must be between 1e-12 and 1e\+12, or infinite .* got 1e-300"),
        ({"max_steps": 0}, r"`max_steps` must be at least 1, got 0"),
        ({"max_bytes": 0}, r"`max_bytes` must be at least 1, got 0"),
        ({"check_every": 0}, r"`check_every` must be at least 1, got 0"),
        ({"tau_b": float("nan")}, r"`tau_b` must be positive, got nan"),
        ({"epsilon": torch.tensor([0.1, -0.1])}, r"`epsilon` must be positive and finite, got tensor"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        Sinkhorn(**arguments)


def test_another_way_to_fail_is_refused():
    """In a process of its own: the run-time type checks of the tests would refuse it first, in their words."""
    program = "from hf_ctkd.ot import Sinkhorn; Sinkhorn(on_failure='ignore')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert "InvalidArgumentError: `on_failure` must be 'raise' or 'report', got 'ignore'." in done.stderr


def test_what_does_not_fit_the_problem_is_refused():
    given = problem()
    with pytest.raises(InvalidArgumentError, match=r"`epsilon` must be one number or one per problem \[4\], got shape"):
        Sinkhorn(torch.tensor([0.1, 0.1])).solve(given)
    with pytest.raises(InvalidArgumentError, match=r"`warm_start` must have shapes \[4, 9\] and \[4, 6\], got"):
        Sinkhorn().solve(given, warm_start=(given.b, given.a))
    with pytest.raises(InvalidArgumentError, match=r"`warm_start` has a NaN or infinite entry"):
        Sinkhorn().solve(given, warm_start=(given.a * torch.nan, given.b))


def test_examples_in_the_documentation():
    module = sys.modules[Sinkhorn.__module__]
    assert doctest.testmod(module).attempted > 0
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("epsilon", [0.1, 0.01])
def test_autocast_around_a_solve_leaves_its_precision(shared, epsilon):
    cost = torch.rand(*(() if shared else (3,)), 20, 15).requires_grad_()
    a, b = torch.softmax(torch.randn(3, 20), -1), torch.softmax(torch.randn(3, 15), -1)
    with torch.autocast("cpu", torch.bfloat16):
        solution = Sinkhorn(epsilon, tolerance=1e-5).solve(OTProblem(cost, a, b))
        moved = solution.cost
        solution.value.sum().backward()
    f, g = (potential.double() for potential in solution.potentials)
    prepared = solution.factors.prepared
    exact_cost, strength = cost.detach().double(), prepared.epsilon.double()[:, None, None]
    plan = a.double()[:, :, None] * b.double()[:, None] * ((f[:, :, None] + g[:, None] - exact_cost) / strength).exp()
    error = (plan.sum(1) - b).abs().sum(1) + (plan.sum(2) - a).abs().sum(1)
    # What is left is the rounding of potentials to float32, in units of epsilon.
    torch.testing.assert_close(error, solution.marginal_error.double(), rtol=0, atol=1e-6 / epsilon)
    torch.testing.assert_close(moved.double(), (plan * exact_cost).sum((1, 2)), rtol=1e-4, atol=0)
    again = Sinkhorn(epsilon, tolerance=1e-5).solve(OTProblem(cost, a, b))
    (gradient,) = torch.autograd.grad(again.value.sum(), cost)
    torch.testing.assert_close(cost.grad, gradient)


def test_an_epsilon_for_no_problem_is_refused_in_words():
    with pytest.raises(InvalidArgumentError, match="`epsilon` must be a number, or one for each problem"):
        Sinkhorn(epsilon=torch.zeros(0))
