"""What must hold for any problem: over shapes, zeros, ties, extreme marginals and identical rows."""

import numpy as np
import ot
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_ctkd.ot import OTProblem, Sinkhorn, exact

EPSILONS = [1.0, 0.1, 0.02, 0.005]
few = settings(max_examples=30, deadline=None, derandomize=True)


def masses(batch, size, kind):
    """Marginals of one kind of trouble, each row summing to one."""
    mass = torch.rand(batch, size, dtype=torch.float64) + 1e-3
    if kind == "one hot":
        mass = torch.nn.functional.one_hot(torch.randint(size, (batch,)), size).double()
    elif kind == "one row":
        mass = mass[:1].expand(batch, -1)
    elif kind != "plain":
        mass = torch.where(torch.arange(size) % 3 == 1, float(kind), mass)
    return mass / mass.sum(1, keepdim=True)


@st.composite
def problems(draw, kinds=("plain", "one hot", "one row", "0", "1e-30", "1e-3"), dtypes=(torch.float64,)):
    """A batch of problems. Few levels of cost make ties, one level makes all the same; rows of it may be identical."""
    torch.manual_seed(draw(st.integers(0, 10_000)))
    batch, n, m = draw(st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)))
    levels = draw(st.sampled_from([1, 2, 1000]))
    cost = torch.rand(*(() if draw(st.booleans()) else (batch,)), n, m, dtype=torch.float64)
    cost = (cost * levels).round() / levels
    if draw(st.booleans()):
        cost[..., 1:, :] = cost[..., :1, :]
    dtype = draw(st.sampled_from(dtypes))
    a, b = (masses(batch, size, draw(st.sampled_from(kinds))) for size in (n, m))
    return OTProblem(cost.to(dtype), a.to(dtype), b.to(dtype))


@few
@given(problem=problems(dtypes=(torch.float32, torch.float64)), epsilon=st.sampled_from(EPSILONS))
def test_any_problem_is_solved(problem, epsilon):
    cost, a, b = (tensor.clone().requires_grad_() for tensor in (problem.cost, problem.a, problem.b))
    solution = Sinkhorn(epsilon).solve(OTProblem(cost, a, b))
    solution.value.sum().backward()
    assert all(torch.isfinite(tensor.grad).all() for tensor in (cost, a, b))
    assert (a.grad[a == 0] == 0).all() and (b.grad[b == 0] == 0).all()
    plan = solution.plan()
    assert ((plan.sum(2) - a).abs().sum(1) + (plan.sum(1) - b).abs().sum(1) < 2e-5).all()
    # Between the exact cost and the cost of independent marginals.
    independent = (a[:, :, None] * b[:, None] * cost).sum((1, 2))
    assert (solution.value <= independent + 1e-5).all()
    assert (solution.value >= exact(problem) - 1e-5).all()


@few
@given(problem=problems(), epsilon=st.sampled_from([1.0, 0.1, 0.03]))
def test_the_value_is_that_of_pot(problem, epsilon):
    found = Sinkhorn(epsilon, tolerance=1e-10).solve(problem).value
    for row in range(len(problem.a)):
        cost = (problem.cost if problem.shared else problem.cost[row]).numpy()
        a, b = problem.a[row].numpy(), problem.b[row].numpy()
        own, other = a > 0, b > 0  # POT takes the logarithm of every mass
        a, b = a[own], b[other]
        # A cost each sets epsilon by what has mass, a shared one as a whole.
        largest = cost.max() if problem.shared else cost[own][:, other].max()
        strength, cost = epsilon * (largest or 1.0), cost[own][:, other]
        plan = ot.bregman.sinkhorn_log(a, b, cost, strength, stopThr=1e-11, numItermax=20_000)
        divergence = (plan * np.log(np.maximum(plan, 1e-300) / np.outer(a, b))).sum()
        expected = (plan * cost).sum() + strength * divergence
        np.testing.assert_allclose(found[row], expected, rtol=1e-6, atol=1e-12)


@few
@given(problem=problems(), epsilon=st.sampled_from(EPSILONS))
def test_source_and_target_may_be_exchanged(problem, epsilon):
    solver = Sinkhorn(epsilon, tolerance=1e-9)
    straight = solver.solve(problem)
    turned = solver.solve(OTProblem(problem.cost.transpose(-1, -2), problem.b, problem.a))
    torch.testing.assert_close(turned.value, straight.value, rtol=1e-7, atol=1e-10)
    torch.testing.assert_close(turned.plan(), straight.plan().transpose(1, 2), rtol=0, atol=1e-7)


@few
@given(problem=problems(), epsilon=st.sampled_from(EPSILONS))
def test_the_order_of_the_bins_does_not_matter(problem, epsilon):
    solver = Sinkhorn(epsilon, tolerance=1e-9)
    straight = solver.solve(problem)
    order, places = torch.randperm(problem.shape[1]), torch.randperm(problem.shape[2])
    cost = problem.cost[..., order, :][..., places]
    moved = solver.solve(OTProblem(cost, problem.a[:, order], problem.b[:, places]))
    torch.testing.assert_close(moved.value, straight.value, rtol=1e-7, atol=1e-10)
    torch.testing.assert_close(moved.plan(), straight.plan()[:, order][:, :, places], rtol=0, atol=1e-7)


@few
@given(problem=problems(), epsilon=st.sampled_from(EPSILONS), factor=st.sampled_from([1e-6, 3.0, 1e8]))
def test_the_value_scales_with_the_cost(problem, epsilon, factor):
    solver = Sinkhorn(epsilon, tolerance=1e-9)
    one, many = (solver.solve(OTProblem(k * problem.cost, problem.a, problem.b)) for k in (1.0, factor))
    torch.testing.assert_close(many.value / factor, one.value, rtol=1e-7, atol=1e-12)
    torch.testing.assert_close(many.plan(), one.plan(), rtol=0, atol=1e-7)


@few
@given(problem=problems(), epsilon=st.sampled_from([10.0, *EPSILONS, 0.001]))
def test_a_one_hot_target_costs_the_mean_for_any_epsilon(problem, epsilon):
    target = torch.randint(problem.shape[2], (len(problem.a),))
    b = torch.nn.functional.one_hot(target, problem.shape[2]).double()
    each = problem.cost.expand(*problem.shape)[torch.arange(len(b)), :, target]
    found = Sinkhorn(epsilon).solve(OTProblem(problem.cost, problem.a, b))
    torch.testing.assert_close(found.value, (problem.a * each).sum(1), rtol=1e-9, atol=1e-12)


@few
@given(
    problem=problems(), epsilon=st.sampled_from(EPSILONS), more=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    price=st.sampled_from([0.0, 0.5, 1e30]), tau=st.sampled_from([float("inf"), 1.0]),
)  # fmt: skip
def test_padding_is_inert_in_value_and_gradient(problem, epsilon, more, price, tau):
    """Ragged label spaces: bins without mass, at any price where each problem has its own cost."""
    solver, (rows, columns) = Sinkhorn(epsilon, tolerance=1e-9, tau_a=tau), more
    price = min(price, float(problem.cost.max())) if problem.shared else price  # a shared cost sets epsilon as a whole
    pad = torch.nn.functional.pad
    wide = (
        pad(problem.cost, (0, columns, 0, rows), value=price),
        pad(problem.a, (0, rows)),
        pad(problem.b, (0, columns)),
    )
    gradients, values = [], []
    for tensors in ((problem.cost, problem.a, problem.b), wide):
        tensors = [tensor.clone().requires_grad_() for tensor in tensors]
        values.append(solver.solve(OTProblem(*tensors)).value)
        gradients.append(torch.autograd.grad(values[-1].sum(), tensors))
    torch.testing.assert_close(values[1], values[0], rtol=1e-7, atol=1e-10)
    n, m = problem.shape[1:]
    (cost, a, b), (wide_cost, wide_a, wide_b) = gradients
    assert (wide_a[:, n:] == 0).all() and (wide_b[:, m:] == 0).all()
    torch.testing.assert_close(wide_a[:, :n], a, rtol=0, atol=1e-6)
    torch.testing.assert_close(wide_b[:, :m], b, rtol=0, atol=1e-6)
    if not problem.shared:  # a shared one passes a share on to every entry that ties with the largest
        assert (wide_cost[:, n:] == 0).all() and (wide_cost[:, :, m:] == 0).all()
        torch.testing.assert_close(wide_cost[:, :n, :m], cost, rtol=0, atol=1e-6)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(problem=problems(), epsilons=st.lists(st.sampled_from(EPSILONS), min_size=4, max_size=4))
def test_each_problem_is_solved_as_if_alone(problem, epsilons):
    """With an epsilon of its own, whatever shares its batch, and in blocks of one."""
    epsilons = torch.tensor(epsilons[: len(problem.a)], dtype=torch.float64)
    together = Sinkhorn(epsilons, tolerance=1e-9, max_bytes=1).solve(problem)
    for row, epsilon in enumerate(epsilons.tolist()):
        cost = problem.cost if problem.shared else problem.cost[row : row + 1]
        alone = Sinkhorn(epsilon, tolerance=1e-9).solve(
            OTProblem(cost, problem.a[row : row + 1], problem.b[row : row + 1])
        )
        torch.testing.assert_close(together.value[row], alone.value[0], rtol=1e-7, atol=1e-10)
        torch.testing.assert_close(together.cost[row], alone.cost[0], rtol=1e-6, atol=1e-8)
