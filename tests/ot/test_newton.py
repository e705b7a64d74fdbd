import pytest
import torch

from hf_ctkd.ot import OTProblem
from hf_ctkd.ot.newton import newton
from hf_ctkd.ot.potentials import Potentials
from hf_ctkd.ot.problem import PreparedProblem

INFINITE = float("inf")


def separate(batch=3, n=6, m=5, gap=0.5):
    """Two groups of bins that exchange mass only at a price, which epsilon makes all but impossible to pay."""
    cost = 0.1 * torch.rand(batch, n, m, dtype=torch.float64)
    cost[:, : n // 2, m // 2 :] += gap
    cost[:, n // 2 :, : m // 2] += gap
    a, b = (torch.softmax(torch.randn(batch, size, dtype=torch.float64), -1) for size in (n, m))
    return OTProblem(cost, a, b)


def prepared(given, epsilon=0.01, tau_a=INFINITE, tau_b=INFINITE):
    return PreparedProblem.of(given, epsilon, tau_a=tau_a, tau_b=tau_b)


def answer(own, f):
    exponent = (f[:, :, None] - own.cost) / own.epsilon[:, None, None] + own.a.log()[:, :, None]
    return -own.powers(own.epsilon)[1] * own.epsilon[:, None] * torch.logsumexp(exponent, 1)


def start(own):
    f = own.cost.amin(2)
    return Potentials(f, answer(own, f), torch.ones_like(own.epsilon), torch.zeros(len(f), dtype=torch.int64))


@pytest.mark.parametrize(("n", "m"), [(6, 5), (5, 8)])
@pytest.mark.parametrize("taus", [{}, {"tau_a": 3.0}, {"tau_a": 10.0, "tau_b": 100.0}])
def test_groups_that_are_all_but_separate_are_no_hindrance(n, m, taus):
    own = prepared(separate(n=n, m=m), **taus)
    found = newton(own, start(own), 1e-9, steps=60)
    assert (found.error <= 1e-9).all() and (found.steps <= 60).all()
    torch.testing.assert_close(found.g, answer(own, found.f))
    plan = ((found.f[:, :, None] + found.g[:, None] - own.cost) / own.epsilon[:, None, None]).exp()
    plan = plan * own.a[:, :, None] * own.b[:, None]
    asked = own.a if own.tau_a is None else own.a * torch.exp(-found.f / own.tau_a[:, None])
    torch.testing.assert_close((plan.sum(2) - asked).abs().sum(1), found.error, rtol=1e-3, atol=1e-13)


def test_near_the_optimum_it_doubles_the_digits():
    own = prepared(separate(gap=0.05), 0.1)
    near = newton(own, start(own), 1e-4, steps=30)
    assert (near.error <= 1e-4).all()
    once = newton(own, near, 0.0, steps=1)
    assert (once.error <= 30 * near.error.square() + 1e-15).all()


def test_zero_mass_is_inert():
    given = separate()
    pad = torch.nn.functional.pad
    padded = OTProblem(pad(given.cost, (0, 2, 0, 1), value=7.0), pad(given.a, (0, 1)), pad(given.b, (0, 2)))
    own, wide = prepared(given), prepared(padded).select(slice(None))
    found, same = newton(own, start(own), 1e-10, steps=60), newton(wide, start(wide), 1e-10, steps=60)
    torch.testing.assert_close(same.f[:, :-1] - same.f[:, :1], found.f - found.f[:, :1], rtol=0, atol=1e-9)
    assert torch.isfinite(same.f).all() and torch.isfinite(same.g).all()


def test_what_is_done_is_left_as_it_is():
    own = prepared(separate())
    done = newton(own, start(own), 1e-6, steps=60)
    again = newton(own, done, 1e-6, steps=5)
    assert torch.equal(again.f, done.f) and torch.equal(again.steps, done.steps)
