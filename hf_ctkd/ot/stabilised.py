"""Sinkhorn for one kernel each: steps in the log domain, and cheap scaling steps between them."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from hf_ctkd.ot.iteration import CYCLE, Kernel, Limits, iterate
from hf_ctkd.ot.newton import newton
from hf_ctkd.ot.potentials import Gathered, Potentials
from hf_ctkd.ot.precision import largest_exponent
from hf_ctkd.ot.problem import PreparedProblem

_ROUND = 20 * CYCLE
"""Steps after which the kernel is computed again, at the current potentials."""
_SHORT_ROUND = 4 * CYCLE
"""The same where the host never reads the error: less is lost when scaling leaves its range."""
_NEWTON = 4
"""Newton steps after a round that was not enough."""


def scale(kernel: Kernel, prepared: PreparedProblem, g: Float[Tensor, "batch m"], limits: Limits) -> Potentials:
    """Solve problems that share a kernel by scaling it, never writing out a kernel each.

    Args:
        kernel: `exp(-cost / epsilon)`.
        prepared: the problems, of one epsilon.
        g: potential to start from.
        limits: when to stop.
    """
    epsilon = prepared.epsilon[:, None]
    power_a, power_b = prepared.powers(prepared.epsilon)
    limits = replace(limits, power_a=power_a, power_b=power_b, stiffness=prepared.stiffness())
    scaled = iterate(kernel, prepared.a, prepared.b, prepared.b * torch.exp(g / epsilon), limits)
    f, g = -power_a * epsilon * scaled.rows.log(), -power_b * epsilon * scaled.columns.log()
    return Potentials(f, g, torch.where(scaled.sound, scaled.error, torch.nan), scaled.steps)


def solve_stabilised(prepared: PreparedProblem, g: Float[Tensor, "batch m"], limits: Limits) -> Potentials:
    """Solve by scaling the current plan's kernel, which a step in the log domain computes again after each round.

    The kernel `exp((f + g - cost) / epsilon)` never overflows, and what underflows in it carries no mass, as long as
    the scalings stay near one; where they do not, the scaling steps are thrown away and the log steps alone go on.

    Args:
        prepared: the problems, with one cost each or a shared one.
        g: potential to start from.
        limits: when to stop.

    Reference:
        Schmitzer, "Stabilized sparse scaling algorithms for entropy regularized transport problems", 2019.
    """
    if not limits.attended:
        return _solve_unattended(prepared, g, limits)
    f = torch.empty_like(prepared.a)
    g = g.clone()
    error = torch.full_like(prepared.epsilon, torch.inf)
    steps = torch.zeros_like(prepared.epsilon, dtype=torch.int64)
    active = torch.arange(len(g), device=g.device)
    while len(active):
        part = prepared.select(active)
        budget = limits.steps - int(steps[active].max())
        result = _round(part, g[active], replace(limits, steps=min(budget, _ROUND)))
        if budget > _ROUND + _NEWTON:
            result = _polished(part, result, limits.tolerance)
        f[active], g[active], error[active] = result.f, result.g, result.error
        steps[active] += result.steps
        active = active[~(result.error <= limits.tolerance) & (steps[active] < limits.steps)]
    return Potentials(f, g, error, steps)


def _polished(prepared: PreparedProblem, scaled: Potentials, tolerance: float) -> Potentials:
    """Newton steps for the problems on which a round of scaling was not enough."""
    rows = (scaled.error > tolerance).nonzero()[:, 0]
    if len(rows) == 0:
        return scaled
    out = Gathered(scaled)
    out.write(rows, newton(prepared.select(rows), out.read(rows), tolerance, steps=_NEWTON))
    return out.potentials


def _solve_unattended(prepared: PreparedProblem, g: Tensor, limits: Limits) -> Potentials:
    """Take every step with every problem: nothing that the host does depends on what the device finds."""
    steps = torch.zeros_like(prepared.epsilon, dtype=torch.int64)
    for start in range(0, limits.steps, _SHORT_ROUND):
        result = _round(prepared, g, replace(limits, steps=min(limits.steps - start, _SHORT_ROUND)))
        g = result.g
        steps += result.steps
    return replace(result, steps=steps)


def _round(prepared: PreparedProblem, g: Tensor, limits: Limits) -> Potentials:
    """One step in the log domain (Peyré and Cuturi, Section 4.4), then scaling steps on the kernel of that plan."""
    epsilon = prepared.epsilon[:, None]
    power_a, power_b = prepared.powers(prepared.epsilon)
    cost = prepared.cost if prepared.cost.dim() == 3 else prepared.cost.expand(len(g), -1, -1)
    f = -power_a * epsilon * _log_sum(g[:, None, :] - cost, prepared.b.log()[:, None, :], epsilon, 2)
    f = f + power_a * epsilon * _shift(prepared, f, g)
    g = -power_b * epsilon * _log_sum(f[:, :, None] - cost, prepared.a.log()[:, :, None], epsilon, 1)
    limit = largest_exponent(g.dtype)
    exponent = (f[:, :, None] - cost).add_(g[:, None, :]).div_(epsilon[:, :, None])
    kernel = Kernel.of(exponent.clamp_(max=limit).exp_())
    target = 1.0 if prepared.tau_a is None else torch.exp(-f / prepared.tau_a[:, None])
    at_start = (prepared.a * (kernel.rows(prepared.b) - target).abs()).sum(-1)
    a = prepared.a * torch.exp((power_a - 1) * f / epsilon)
    b = prepared.b * torch.exp((power_b - 1) * g / epsilon)
    steps = max(1, limits.steps - 1)
    limits = replace(limits, steps=steps, power_a=power_a, power_b=power_b, stiffness=prepared.stiffness())
    scaled = iterate(kernel, a, b, prepared.b, limits)
    log_u = power_a * scaled.rows.log() + (1 - power_a) * f / epsilon
    log_v = power_b * scaled.columns.log() + (1 - power_b) * g / epsilon
    drift = torch.maximum(_reach(log_u, prepared.a), _reach(log_v, prepared.b))
    usable = torch.isfinite(scaled.error) & (drift < limit / 4)
    f = torch.where(usable[:, None], f - epsilon * log_u, f)
    g = torch.where(usable[:, None], g - epsilon * log_v, g)
    error = torch.where(usable, scaled.error, at_start)
    return Potentials(f, g, error, torch.where(usable, scaled.steps + 1, 1))


def _log_sum(numerator: Tensor, log_mass: Tensor, epsilon: Tensor, dim: int) -> Tensor:
    return torch.logsumexp(numerator.div_(epsilon[:, :, None]).add_(log_mass), dim)


def _shift(prepared: PreparedProblem, f: Tensor, g: Tensor) -> float | Tensor:
    """The best common shift of both potentials in units of epsilon, as in `iterate`; nothing where marginals bind."""
    stiffness = prepared.stiffness()
    if stiffness is None:
        return 0.0
    return (_log_mass(prepared.a, f, prepared.tau_a) - _log_mass(prepared.b, g, prepared.tau_b)) / stiffness


def _log_mass(mass: Tensor, potential: Tensor, tau: Tensor | None) -> float | Tensor:
    """The log of the mass of a relaxed marginal at this potential."""
    return 0.0 if tau is None else torch.logsumexp(mass.log() - potential / tau[:, None], 1, keepdim=True)


def _reach(log_scaling: Tensor, mass: Tensor) -> Tensor:
    return torch.where(mass > 0, log_scaling.abs(), 0.0).amax(-1)
