import pytest
import torch

from hf_ctkd.ot import OTProblem, Sinkhorn


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
