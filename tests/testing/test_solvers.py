"""The contract of solvers notices one that is broken."""

import dataclasses

import pytest

from hf_ctkd.ot import Sinkhorn
from hf_ctkd.testing import check_solver


def good(problem, epsilon):
    return Sinkhorn(epsilon, 100_000, tolerance=1e-11).solve(problem)


def stops_early(problem, epsilon):
    return Sinkhorn(epsilon, 1, on_failure="report").solve(problem)


def never_sharpens(problem, epsilon):
    return good(problem, 0.5)


def forgets_the_gradient(problem, epsilon):
    solution = good(problem, epsilon)
    return dataclasses.replace(solution, value=solution.value.detach() + 0 * problem.cost.sum())


def doubles_the_gradient(problem, epsilon):
    solution = good(problem, epsilon)
    return dataclasses.replace(solution, value=2 * solution.value - solution.value.detach())


def spreads_to_nothing(problem, epsilon):
    """Gives entries without mass a gradient."""
    solution = good(problem, epsilon)
    return dataclasses.replace(solution, value=solution.value + (problem.a - problem.a.detach()).sum(-1))


@pytest.mark.parametrize(
    ("solve", "promise"),
    [
        (stops_early, "the plan's rows must sum to `a`"),
        (never_sharpens, "value must approach the exact cost"),
        (forgets_the_gradient, "Jacobian mismatch"),
        (doubles_the_gradient, "Jacobian mismatch"),
        (spreads_to_nothing, "an entry of zero mass must have no gradient and no plan, `a` has"),
    ],
)
def test_a_broken_solver_is_noticed(solve, promise):
    # torch's own check of gradients raises a RuntimeError of its own.
    with pytest.raises((AssertionError, RuntimeError), match=promise):
        check_solver(solve)
