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
