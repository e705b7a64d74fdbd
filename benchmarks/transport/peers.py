"""The same problems for every solver: value, and gradient with respect to the cost and `b`."""

import importlib.util
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmarks.transport.measure import EPSILON, marginal_error
from hf_ctkd.ot import OTProblem, Sinkhorn

PEER_TOLERANCE = 1e-5
LOOKED_AT = 128
"""Problems whose plan is written out to measure the error."""

Answer = tuple[Tensor, float | Callable[[], float]]


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def ours(cost, a, b, tolerance, epsilon=EPSILON, warm_start=None) -> Answer:
    cost, b = cost.clone().requires_grad_(), b.clone().requires_grad_()
    solution = Sinkhorn(epsilon, tolerance=tolerance).solve(OTProblem(cost, a, b), warm_start=warm_start)
    solution.value.sum().backward()
    some = slice(0, LOOKED_AT)
    return solution.value.detach(), lambda: marginal_error(solution.plan(some), a[some], b.detach()[some])


def products(cost, a, b, steps: int) -> Answer:
    """The matrix products of so many steps with a shared cost, and nothing else: what no solver can be quicker than."""
    kernel = torch.exp(-cost / EPSILON)
    for _ in range(steps):
        rows = (a @ kernel) @ kernel.T
    return rows.sum(1), float("nan")


def pot_batch(cost, a, b, epsilon=EPSILON) -> Answer:
    """Without autograd, to POT's advantage: with it each step is recorded, in the shared case more than 20 GB."""
    import ot  # so that the other solvers run where POT is not installed

    shared = cost.dim() == 2
    each = cost.expand(len(a), -1, -1).contiguous() if shared else cost
    solution = ot.solve_batch(
        each, epsilon, a, b, max_iter=5000, tol=PEER_TOLERANCE, method="log_sinkhorn", reg_type="kl", grad="detach"
    )
    plan = solution.plan
    _gradient_cost = plan.sum(0) if shared else plan
    _gradient_b = epsilon * solution.potentials[1]
    return solution.value, lambda: marginal_error(plan, a, b)


def pot_loop(cost, a, b, epsilon=EPSILON) -> Answer:
    import ot

    values, worst = [], 0.0
    for row in range(len(a)):
        each = (cost if cost.dim() == 2 else cost[row]).double().numpy()
        p, q = (mass[row].double().numpy() for mass in (a, b))
        p, q = p / p.sum(), q / q.sum()
        plan, _ = ot.sinkhorn(p, q, each, epsilon, stopThr=PEER_TOLERANCE, numItermax=5000, log=True, warn=False)
        values.append((plan * each).sum() + epsilon * (plan * np.log(np.maximum(plan, 1e-300) / np.outer(p, q))).sum())
        worst = max(worst, float(np.abs(plan.sum(1) - p).sum() + np.abs(plan.sum(0) - q).sum()))
    return torch.tensor(values), worst


def geomloss_batch(cost, a, b, steps, epsilon=EPSILON) -> Answer:
    from geomloss import ot as geomloss

    each = cost.expand(len(a), -1, -1) if cost.dim() == 2 else cost
    solution = geomloss.solve_batch(each.contiguous(), reg=epsilon, a=a, b=b, max_iter=steps)
    return solution.value.detach(), lambda: marginal_error(solution.plan, a, b)


class OTTJax:
    """OTT-JAX, batched by `vmap` and compiled by `jit` for these inputs: what compilation takes is not measured.

    Its gradient is taken at the solution too (Danskin), not through the steps.
    """

    def __init__(self, cost, a, b, tolerance: float, *, log_domain: bool) -> None:
        import jax
        from ott.geometry.geometry import Geometry
        from ott.problems.linear.linear_problem import LinearProblem
        from ott.solvers.linear.sinkhorn import Sinkhorn as Peer

        solver = Peer(lse_mode=log_domain, threshold=tolerance, norm_error=1, max_iterations=5000)

        def one(cost, a, b):
            out = solver(LinearProblem(Geometry(cost_matrix=cost, epsilon=EPSILON), a, b))
            return out.reg_ot_cost, (out.f, out.g)

        def total(cost, b, a):
            values, potentials = jax.vmap(one, in_axes=(None if cost.ndim == 2 else 0, 0, 0))(cost, a, b)
            return values.sum(), (values, potentials)

        self.jax, self.torch = jax, (cost, a, b)
        self.inputs = [jax.numpy.asarray(tensor.numpy()) for tensor in (cost, b, a)]
        self.run = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))
        self()

    def __call__(self) -> Answer:
        (_, (values, potentials)), _ = self.jax.block_until_ready(self.run(*self.inputs))
        return torch.from_numpy(np.array(values)), lambda: self._error(potentials)

    def _error(self, potentials) -> float:
        cost, a, b = self.torch
        f, g = (torch.from_numpy(np.array(part))[:LOOKED_AT] for part in potentials)
        cost = cost if cost.dim() == 2 else cost[:LOOKED_AT]
        plan = ((f[:, :, None] + g[:, None] - cost) / EPSILON).exp()
        return marginal_error(plan, a[:LOOKED_AT], b[:LOOKED_AT])
