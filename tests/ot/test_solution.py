import pytest
import torch

from hf_ctkd.ot import OTProblem, Sinkhorn, Status


def solve(**settings):
    cost = torch.rand(5, 4, dtype=torch.float64).requires_grad_()
    a, b = (torch.softmax(torch.randn(3, size, dtype=torch.float64), -1) for size in (5, 4))
    return Sinkhorn(0.02, tolerance=1e-9, **settings).solve(OTProblem(cost, a, b)), cost


def test_value_is_the_cost_and_epsilon_times_the_divergence():
    solution, cost = solve()
    plan = solution.plan()
    independent = plan.sum(2)[:, :, None] * plan.sum(1)[:, None]
    divergence = (plan * (plan / independent).log()).sum((1, 2))
    epsilon = 0.02 * float(cost.detach().max())
    torch.testing.assert_close(solution.value.detach(), solution.cost + epsilon * divergence, rtol=1e-7, atol=0)


def test_only_the_value_carries_a_gradient():
    solution, _ = solve()
    assert solution.value.requires_grad
    assert not any(part.requires_grad for part in (solution.cost, solution.plan(), *solution.potentials))


def test_some_plans_by_index_mask_or_slice():
    solution, _ = solve()
    plan = solution.plan()
    for rows in (torch.tensor([0, 2]), torch.tensor([True, False, True]), slice(0, 3, 2)):
        torch.testing.assert_close(solution.plan(rows), plan[[0, 2]])


def test_convergence_is_the_status():
    assert solve()[0].converged.all()
    stopped, _ = solve(max_steps=1, on_failure="report")
    assert not stopped.converged.any() and (stopped.status == Status.OUT_OF_STEPS).all()


@pytest.mark.parametrize("epsilon", [0.1, 0.001])
@pytest.mark.parametrize("shared", [True, False])
def test_what_is_had_without_the_plan_is_what_the_plan_says(shared, epsilon):
    cost = torch.rand(7, 5) if shared else torch.rand(6, 7, 5)
    a, b = torch.softmax(torch.randn(6, 7), -1), torch.softmax(torch.randn(6, 5), -1)
    # A limit of a byte makes blocks of one problem.
    solution = Sinkhorn(epsilon, 50_000, max_bytes=1).solve(OTProblem(cost, a, b))
    plan, weights = solution.plan(), torch.randn(6).to(solution.plan())
    torch.testing.assert_close(solution.cost, (plan * cost).sum((1, 2)), rtol=1e-5, atol=1e-7)
    if shared:
        expected = (weights[:, None, None] * plan).sum(0)
        torch.testing.assert_close(solution.factors.weighted(weights), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(solution.plan(torch.tensor([4, 1])), plan[[4, 1]])


def test_shared_cost_never_writes_out_a_plan_for_each_problem(monkeypatch):
    """The largest tensor made, forward and backward, is far below [batch, n, m]."""
    from torch.utils._python_dispatch import TorchDispatchMode

    sizes = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            sizes.extend(item.numel() for item in (out if isinstance(out, tuple) else (out,)) if torch.is_tensor(item))
            return out

    batch, n, m = 64, 40, 30
    cost = torch.rand(n, m, requires_grad=True)
    a, b = torch.softmax(torch.randn(batch, n), -1), torch.softmax(torch.randn(batch, m), -1)
    with Watch():
        Sinkhorn(0.05).solve(OTProblem(cost, a, b)).value.sum().backward()
    assert cost.grad is not None
    # The extrapolation keeps up to six [batch, m].
    assert max(sizes) <= max(6 * batch * m, batch * n, n * m)


def problem(shared):
    cost = torch.rand(*(() if shared else (3,)), 5, 4, dtype=torch.float64).requires_grad_()
    a, b = (torch.softmax(torch.randn(3, size, dtype=torch.float64), -1).requires_grad_() for size in (5, 4))
    return OTProblem(cost, a, b)


@pytest.mark.parametrize("shared", [True, False])
def test_the_gradient_of_the_cost_is_homogeneous(shared):
    """The value scales with the cost, so by Euler `<gradient, cost>` is the value: epsilon follows the cost."""
    given = problem(shared)
    value = Sinkhorn(0.1, tolerance=1e-12).solve(given).value
    value.sum().backward()
    inner = (given.cost.grad * given.cost).sum()
    torch.testing.assert_close(inner.detach(), value.sum().detach(), rtol=1e-9, atol=0)


def test_each_problem_s_gradient_has_its_own_weight():
    given, weights = problem(shared=False), torch.tensor([2.0, 0.0, -1.0], dtype=torch.float64)
    solver = Sinkhorn(0.1, tolerance=1e-12)
    solver.solve(given).value.sum().backward()
    plain = [tensor.grad.clone() for tensor in (given.cost, given.a, given.b)]
    for tensor in (given.cost, given.a, given.b):
        tensor.grad = None
    (weights * solver.solve(given).value).sum().backward()
    for tensor, one in zip((given.cost, given.a, given.b), plain, strict=True):
        torch.testing.assert_close(tensor.grad, weights.view(-1, *[1] * (one.dim() - 1)) * one)


def test_ties_of_the_largest_cost_share_what_comes_through_epsilon():
    given = problem(shared=True)
    cost = given.cost.detach().clone()
    cost[0, 0] = cost[4, 3] = 2.0
    cost.requires_grad_()
    solution = Sinkhorn(0.1, tolerance=1e-12).solve(OTProblem(cost, given.a, given.b))
    solution.value.sum().backward()
    beyond = cost.grad - solution.plan().sum(0)
    assert beyond[0, 0] == pytest.approx(float(beyond[4, 3])) and float(beyond[0, 0]) > 0
    assert int((beyond.abs() > 1e-12).sum()) == 2


def test_only_what_asks_for_a_gradient_gets_one():
    given = problem(shared=True)
    value = Sinkhorn(0.1).solve(OTProblem(given.cost.detach(), given.a, given.b.detach())).value
    value.sum().backward()
    assert given.a.grad is not None and given.cost.grad is None and given.b.grad is None


def test_a_second_derivative_is_refused():
    given = problem(shared=True)
    value = Sinkhorn(0.1).solve(given).value.square().sum()
    (first,) = torch.autograd.grad(value, given.a, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice.*once_differentiable"):
        first.sum().backward()
