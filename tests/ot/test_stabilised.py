import pytest
import torch

from hf_ctkd.ot import OTProblem
from hf_ctkd.ot.iteration import Kernel, Limits
from hf_ctkd.ot.potentials import dual_value
from hf_ctkd.ot.problem import PreparedProblem
from hf_ctkd.ot.stabilised import scale, solve_stabilised


def prepared(epsilon, tau=float("inf"), shared=True):
    cost = torch.rand(*(() if shared else (3,)), 6, 5, dtype=torch.float64)
    a, b = (torch.softmax(torch.randn(3, size, dtype=torch.float64), -1) for size in (6, 5))
    return PreparedProblem.of(OTProblem(cost, a, b), epsilon, tau_a=tau, tau_b=tau)


def error(given, found):
    exponent = (found.f[:, :, None] + found.g[:, None] - given.cost) / given.epsilon[:, None, None]
    plan = exponent.exp() * given.a[:, :, None] * given.b[:, None]
    return (plan.sum(2) - given.a).abs().sum(1) + (plan.sum(1) - given.b).abs().sum(1)


@pytest.mark.parametrize("tau", [float("inf"), 0.5])
def test_both_ways_come_to_the_same_value(tau):
    given, start = prepared(0.1, tau), torch.zeros(3, 5, dtype=torch.float64)
    limits = Limits(10_000, 1e-11, 5)
    kernel = Kernel.of(torch.exp(-given.cost / given.epsilon[0]))
    one, other = scale(kernel, given, start, limits), solve_stabilised(given, start, limits)
    for found in (one, other):
        assert (found.error <= 1e-11).all() and (found.steps > 0).all()
    torch.testing.assert_close(dual_value(given, one.f, one.g)[0], dual_value(given, other.f, other.g)[0])


def test_a_kernel_that_underflows_is_no_hindrance():
    """Exponents down to -1000, where the plain kernel is zero."""
    given, start = prepared(0.001, shared=False), torch.zeros(3, 5, dtype=torch.float64)
    found = solve_stabilised(given, start, Limits(200_000, 1e-5, 5))
    assert torch.isfinite(found.f).all() and torch.isfinite(found.g).all()
    assert (error(given, found) < 2e-5).all()


def test_steps_are_bounded_and_what_was_reached_is_told():
    given, start = prepared(0.002, shared=False), torch.zeros(3, 5, dtype=torch.float64)
    found = solve_stabilised(given, start, Limits(7, 1e-12, 5))
    assert (found.steps >= 7).all() and (found.steps <= 7 + 1).all()
    assert not (found.error <= 1e-12).any()
