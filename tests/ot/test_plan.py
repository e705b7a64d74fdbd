import pytest
import torch

from hf_ctkd.ot import OTProblem, Sinkhorn


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
