"""The contract that any entropic solver must pass, third-party ones too."""

from collections.abc import Callable

import torch

from hf_ctkd.ot import OTProblem, OTSolution, exact
from hf_ctkd.testing.promise import present


def check_solver(solve: Callable[[OTProblem, float], OTSolution], *, epsilon: float = 0.1) -> None:
    """Marginals hold; near the exact cost as epsilon shrinks; true gradient; entries of zero mass are inert.

    Args:
        solve: takes a problem in float64 and an epsilon relative to the largest cost; to be solved to 1e-9.
        epsilon: where gradients are compared, large enough for quick convergence.
    """
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    for cost in (random(4, 3), random(2, 4, 3)):
        a, b = torch.softmax(3 * random(2, 4), -1), torch.softmax(3 * random(2, 3), -1)
        problem = OTProblem(cost, a, b)
        plan = solve(problem, epsilon).plan()
        torch.testing.assert_close(plan.sum(2), a, rtol=0, atol=1e-8, msg="the plan's rows must sum to `a`")
        torch.testing.assert_close(plan.sum(1), b, rtol=0, atol=1e-8, msg="the plan's columns must sum to `b`")
        # epsilon times the entropy of the marginals, at most log(3), bounds the gap.
        gap = solve(problem, 0.01).value - exact(problem)
        if not bool(((gap > -1e-8) & (gap < 0.01 * 1.1 * float(cost.max()))).all()):
            raise AssertionError(f"value must approach the exact cost as epsilon shrinks, the gap is {gap.tolist()}")
        _check_gradient(solve, problem, epsilon)
        _check_inert(solve, problem, epsilon)


def _check_gradient(solve: Callable[[OTProblem, float], OTSolution], problem: OTProblem, epsilon: float) -> None:
    logits = [tensor.clone().requires_grad_() for tensor in (problem.cost, problem.a.log(), problem.b.log())]

    def value(cost: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return solve(OTProblem(cost, torch.softmax(a, -1), torch.softmax(b, -1)), epsilon).value

    torch.autograd.gradcheck(value, logits, eps=1e-5, atol=1e-6)


def _check_inert(solve: Callable[[OTProblem, float], OTSolution], problem: OTProblem, epsilon: float) -> None:
    """A source and a target without mass, at a cost that must not matter."""
    padded = torch.nn.functional.pad
    most = float(problem.cost.max()) * (1.0 if problem.shared else 1e6)  # a shared cost sets epsilon as a whole
    cost = padded(problem.cost, (0, 1, 0, 1), value=most).requires_grad_()
    a, b = (padded(mass, (0, 1)).requires_grad_() for mass in (problem.a, problem.b))
    solution = solve(OTProblem(cost, a, b), epsilon)
    torch.testing.assert_close(solution.value.detach(), solve(problem, epsilon).value, rtol=1e-9, atol=1e-9)
    solution.value.sum().backward()
    of_a, of_b, of_cost = (present(tensor.grad, "the value must have a gradient") for tensor in (a, b, cost))
    for name, inert in (("a", of_a[:, -1]), ("b", of_b[:, -1]), ("plan", solution.plan()[:, -1])):
        if bool((inert != 0).any()):
            raise AssertionError(f"an entry of zero mass must have no gradient and no plan, `{name}` has")
    if not all(bool(torch.isfinite(gradient).all()) for gradient in (of_a, of_b, of_cost)):
        raise AssertionError("zero mass must give finite gradients")
