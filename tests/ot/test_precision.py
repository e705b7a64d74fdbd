"""Every solver reports its true error under autocast and TF32, and refuses an epsilon that no type resolves."""

import math
import threading

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.ot import CloudProblem, CloudSinkhorn, OTProblem, Sinkhorn, exact, transport_rows
from hf_ctkd.ot.precision import full_products, rounds_products


class TensorFloat32(TorchDispatchMode):
    """Rounds the inputs of float32 products to 10 bits of mantissa, where the setting of the process allows it."""

    PRODUCTS = ("aten.mm", "aten.bmm", "aten.addmm", "aten.baddbmm", "aten.mv", "aten.dot")

    def __init__(self):
        super().__init__()
        self.rounded = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if str(function).startswith(self.PRODUCTS) and rounds_products():
            args = tuple(self._cut(value) for value in args)
        return function(*args, **(kwargs or {}))

    def _cut(self, value):
        if not torch.is_tensor(value) or value.dtype != torch.float32:
            return value
        self.rounded += 1
        step = 2.0**-10
        mantissa, exponent = torch.frexp(value)
        return torch.ldexp((mantissa / step).round() * step, exponent)


@pytest.fixture
def tf32_allowed():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


def around(name):
    if name == "tf32":
        return TensorFloat32()
    return torch.autocast("cpu", {"bfloat16": torch.bfloat16, "float16": torch.float16}[name])


def sinkhorn_errors(shared, epsilon, surrounding, **settings):
    generator = torch.Generator().manual_seed(0)
    cost = torch.rand(*(() if shared else (3,)), 20, 15, generator=generator)
    a, b = (torch.softmax(torch.randn(3, size, generator=generator), 1) for size in (20, 15))
    with surrounding:
        solution = Sinkhorn(epsilon, tolerance=1e-5, **settings).solve(OTProblem(cost, a, b))
    f, g = (potential.double() for potential in solution.potentials)
    strength = (epsilon * cost.double().amax((-1, -2))).view(-1, 1, 1)
    a, b = a.double(), b.double()
    plan = a[:, :, None] * b[:, None] * ((f[:, :, None] + g[:, None] - cost.double()) / strength).exp()
    scale = strength[:, 0] / epsilon
    a = a * (-f / (scale * settings.get("tau_a", math.inf))).exp()
    b = b * (-g / (scale * settings.get("tau_b", math.inf))).exp()
    return solution.marginal_error.double(), (plan.sum(1) - b).abs().sum(1) + (plan.sum(2) - a).abs().sum(1), epsilon


def cloud_errors(epsilon, surrounding):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 5, generator=generator), torch.randn(40, 5, generator=generator) + 0.5
    with surrounding:
        solution = CloudSinkhorn(epsilon, tolerance=1e-5).solve(CloudProblem(x, y))
    f, g = (potential.double() for potential in solution.potentials)
    cost = torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist").square()
    plan = torch.exp((f[:, None] + g - cost) / solution.epsilon) / (60 * 40)
    true = (plan.sum(0) - 1 / 40).abs().sum() + (plan.sum(1) - 1 / 60).abs().sum()
    return torch.tensor(solution.marginal_error).double(), true, epsilon


def row_errors(epsilon, surrounding):
    log_posterior = torch.randn(500, 4, generator=torch.Generator().manual_seed(0)).mul(2).log_softmax(1)
    prior = torch.tensor([0.4, 0.3, 0.2, 0.1])
    with surrounding:
        transport = transport_rows(log_posterior, prior, epsilon=epsilon, tolerance=1e-5)
    potential = transport.potential.double()
    share = ((log_posterior.double() + potential) / epsilon).softmax(dim=1).mean(dim=0)
    true = (share - prior.double() * (-potential).exp()).abs().sum()
    return torch.tensor(transport.marginal_error).double(), true, epsilon


SOLVERS = {
    "shared": lambda surrounding: sinkhorn_errors(True, 0.05, surrounding),
    "each": lambda surrounding: sinkhorn_errors(False, 0.05, surrounding),
    "shared, small epsilon": lambda surrounding: sinkhorn_errors(True, 0.005, surrounding),
    "each, small epsilon": lambda surrounding: sinkhorn_errors(False, 0.005, surrounding),
    "relaxed": lambda surrounding: sinkhorn_errors(True, 0.05, surrounding, tau_a=1.0, tau_b=0.5),
    "fixed steps": lambda surrounding: sinkhorn_errors(
        True, 0.1, surrounding, max_steps=100, check_every=100, on_failure="report"
    ),
    "clouds": lambda surrounding: cloud_errors(0.02, surrounding),
    "clouds, small epsilon": lambda surrounding: cloud_errors(0.003, surrounding),
    "rows": lambda surrounding: row_errors(0.25, surrounding),
    "rows, small epsilon": lambda surrounding: row_errors(0.005, surrounding),
}


@pytest.mark.usefixtures("tf32_allowed")
@pytest.mark.parametrize("surrounding", ["bfloat16", "float16", "tf32"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_reported_error_is_the_true_one(solver, surrounding):
    reported, true, epsilon = SOLVERS[solver](around(surrounding))
    assert float(reported.max()) <= 1e-5
    # Potentials are handed over in float32: their rounding in units of epsilon comes on top.
    assert float((true - reported).abs().max()) < 2e-5 + 5e-7 / epsilon


@pytest.mark.usefixtures("tf32_allowed")
def test_the_gradient_is_computed_in_full_precision_too():
    cost = torch.rand(9, 6, generator=torch.Generator().manual_seed(0))
    a, b = torch.full((4, 9), 1 / 9), torch.full((4, 6), 1 / 6)
    gradients = []
    for surrounding in (full_products(), TensorFloat32()):
        given = cost.clone().requires_grad_()
        with surrounding:
            Sinkhorn(0.05).solve(OTProblem(given, a, b)).value.sum().backward()
        gradients.append(given.grad)
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=0)


@pytest.mark.usefixtures("tf32_allowed")
def test_the_emulation_rounds_what_runs_outside_of_a_solver():
    x = torch.rand(30, 30, generator=torch.Generator().manual_seed(0))
    with TensorFloat32() as mode:
        rounded = x @ x
    assert mode.rounded == 2 and float((rounded - x.double() @ x.double()).abs().max()) > 1e-4


@pytest.mark.usefixtures("tf32_allowed")
def test_the_setting_is_that_of_before_after_threads_and_errors():
    inside = []

    def solve():
        with full_products(), full_products():
            inside.append(rounds_products())

    with pytest.raises(ValueError, match="out"), full_products():
        threads = [threading.Thread(target=solve) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not rounds_products()
        raise ValueError("out")
    assert rounds_products() and torch.get_float32_matmul_precision() == "high" and inside == [False] * 4


@pytest.mark.usefixtures("tf32_allowed")
def test_a_setting_that_was_changed_meanwhile_is_left_alone():
    with full_products():
        torch.set_float32_matmul_precision("medium")
    assert torch.get_float32_matmul_precision() == "medium"


def test_an_epsilon_that_no_type_resolves_is_refused():
    cost, mass = torch.rand(3, 3), torch.full((2, 3), 1 / 3)
    for epsilon in (1e-12, torch.tensor([0.1, 1e-12])):
        with pytest.raises(InvalidArgumentError, match=r"`epsilon` must be at least 2e-11 .* got 1e-12\. Increase one"):
            Sinkhorn(epsilon).solve(OTProblem(cost, mass, mass))
    with pytest.raises(InvalidArgumentError, match=r"`epsilon` must be at least 2e-12 for a `tolerance` of 0\.0001"):
        CloudSinkhorn(1e-13).solve(CloudProblem(cost, cost))
    with pytest.raises(InvalidArgumentError, match=r"`epsilon` must be at least 2e-12 for a `tolerance` of 0\.0001"):
        transport_rows(cost.log_softmax(1), mass[0], epsilon=1e-13)


def test_an_epsilon_beside_which_no_cost_is_seen_is_refused():
    cost, mass = torch.rand(3, 3), torch.full((2, 3), 1 / 3)
    for epsilon in (1e39, torch.tensor([0.1, 1e30])):
        with pytest.raises(InvalidArgumentError, match=r"`epsilon` must be at most 5e\+10 .* got 1e\+3.\. Decrease it"):
            Sinkhorn(epsilon).solve(OTProblem(cost, mass, mass))
    with pytest.raises(InvalidArgumentError, match=r"`epsilon` must be at most 5e\+11 for a `tolerance` of 0\.0001"):
        CloudSinkhorn(1e39).solve(CloudProblem(cost, cost))
    with pytest.raises(InvalidArgumentError, match=r"`epsilon` must be at most 5e\+11 for a `tolerance` of 0\.0001"):
        transport_rows(cost.log_softmax(1), mass[0], epsilon=1e39)


@pytest.mark.parametrize(("dtype", "least"), [(torch.bfloat16, "0.008"), (torch.float16, "0.001")])
def test_an_epsilon_below_the_rounding_of_the_cost_is_refused(dtype, least):
    cost, mass = torch.rand(3, 3).to(dtype), torch.full((2, 3), 1 / 3)
    with pytest.raises(InvalidArgumentError, match=rf"`epsilon` must be at least {least} for a `cost` in {dtype}"):
        Sinkhorn(5e-4).solve(OTProblem(cost, mass, mass))
    assert Sinkhorn(0.05).solve(OTProblem(cost, mass, mass)).value.dtype == torch.float32
    assert torch.allclose(exact(OTProblem(cost, mass, mass)), exact(OTProblem(cost.float(), mass, mass)))
