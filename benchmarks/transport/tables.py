"""The rows of the tables: each solver on the same problems, in turn."""

import argparse
from collections.abc import Callable

import torch

from benchmarks.transport.measure import EPSILON, Run, inputs, measured, median
from benchmarks.transport.peers import (
    Answer,
    OTTJax,
    geomloss_batch,
    installed,
    ours,
    pot_batch,
    pot_loop,
    products,
)
from hf_ctkd.ot import CloudProblem, CloudSinkhorn, OTProblem, Sinkhorn

FEW, PART = 8, 128
"""Problems for solvers that take one at a time, and for those that write a plan each."""
GEOMLOSS_STEPS = 300
POT = "POT `solve_batch(log_sinkhorn)`"

Solver = Callable[[], Answer]


def compare(name: str, batch: int, n: int, m: int, *, shared: bool, options: argparse.Namespace) -> list[str]:
    """Rows of the table for one kind of problem."""
    cost, a, b = inputs(batch, n, m, shared=shared)

    def first(count: int) -> tuple[torch.Tensor, ...]:
        return (cost if shared else cost[:count], a[:count], b[:count])

    part = batch if options.whole_batch or not shared else min(batch, PART)
    calibration = measured(lambda: pot_batch(*first(part)))
    tolerance = calibration.error
    solution = Sinkhorn(EPSILON, tolerance=tolerance).solve(OTProblem(cost, a, b))
    nudged = torch.softmax(b.log() + 0.05 * torch.randn_like(b), -1)
    solvers: dict[str, tuple[Solver, int]] = {
        "ours": (lambda: ours(cost, a, b, tolerance), batch),
        "ours, warm start": (lambda: ours(cost, a, nudged, tolerance, warm_start=solution.potentials), batch),
        POT: (lambda: pot_batch(*first(part)), part),
        "POT `sinkhorn`, a loop": (lambda: pot_loop(*first(FEW)), FEW),
    }
    if installed("geomloss"):
        label = f"GeomLoss `ot.solve_batch`, {GEOMLOSS_STEPS} steps"
        solvers[label] = (lambda: geomloss_batch(*first(FEW), GEOMLOSS_STEPS), FEW)
    if installed("ott"):
        some = min(batch, PART) if shared else batch
        for label, log_domain in (("scaling", False), ("log domain", True)):
            solvers[f"OTT-JAX, {label}"] = (OTTJax(*first(some), tolerance, log_domain=log_domain), some)
    if shared:
        steps = round(float(solution.steps.double().mean()))
        solvers[f"the matrix products of {steps} steps"] = (lambda: products(cost, a, b, steps), batch)
    runs = _interleaved(solvers, {POT: [calibration]}, options.repeats)
    true = Sinkhorn(EPSILON, tolerance=1e-9).solve(OTProblem(*(tensor.double() for tensor in first(FEW)))).value
    return [
        _row(name, label, count, batch, runs[label], runs["ours"], None if _is_other(label) else true)
        for label, (_, count) in solvers.items()
    ]


def _is_other(label: str) -> bool:
    """Whether its values are those of other problems, or none."""
    return "warm" in label or "products" in label


def _interleaved(solvers: dict[str, tuple[Solver, int]], runs: dict, repeats: int) -> dict[str, list[Run]]:
    """Every solver in turn, so that other load on the machine falls on all; GeomLoss, which has no end, once."""
    runs = {label: list(runs.get(label, ())) for label in solvers}
    for _ in range(repeats):
        for label, (solve, _) in solvers.items():
            if len(runs[label]) < (1 if label.startswith("GeomLoss") else repeats):
                runs[label].append(measured(solve))
                print(f"{label}: {runs[label][-1].wall:.3g} s", flush=True)
    return runs


def _row(name: str, label: str, count: int, batch: int, runs: list[Run], base: list[Run], true) -> str:
    factor = batch / count
    wall, processor = factor * median(runs, "wall"), factor * median(runs, "processor")
    spread = factor * (max(run.wall for run in runs) - min(run.wall for run in runs)) / 2
    error, memory = max(run.error for run in runs), max(run.memory for run in runs)
    off = "" if true is None else f"{(runs[0].values[:FEW] / true - 1).abs().max():.1e}"
    return (
        f"| {name} | {label} | {count} | {len(runs)} | {wall:.3g} ± {spread:.1g} | {wall / median(base, 'wall'):.3g} | "
        f"{processor / median(base, 'processor'):.3g} | {'' if error != error else f'{error:.1e}'} | {off} | "
        f"{memory / 2**20:.0f} |"
    )


def clouds(repeats: int, points: int = 5000, width: int = 768) -> list[str]:
    """Two clouds: ours in blocks; GeomLoss, whose dense backend is the one that runs without KeOps; POT's on a cost."""
    torch.manual_seed(0)
    x, y = torch.randn(points, width), torch.randn(points, width) + 0.1
    solver = CloudSinkhorn(EPSILON, tolerance=1e-4)
    largest = solver.solve(CloudProblem(x, y)).epsilon / EPSILON
    solvers = {"ours, in blocks": lambda: _cloud_ours(solver, x, y)}
    if installed("geomloss"):
        solvers["GeomLoss `SamplesLoss`, dense"] = lambda: cloud_geomloss(x, y, EPSILON * largest)
    solvers["POT `sinkhorn_log`, dense"] = lambda: _cloud_pot(x, y, EPSILON * largest)
    runs = {label: [] for label in solvers}
    for _ in range(repeats):
        for label, solve in solvers.items():
            runs[label].append(measured(solve))
    return [
        f"| {points} x {points} points, width {width} | {label} | {median(timed, 'wall'):.3g} | "
        f"{median(timed, 'processor'):.3g} | {'' if timed[0].error != timed[0].error else f'{timed[0].error:.1e}'} | "
        f"{max(run.memory for run in timed) / 2**20:.0f} | {float(timed[0].values):.6g} |"
        for label, timed in runs.items()
    ]


def _cloud_ours(solver: CloudSinkhorn, x: torch.Tensor, y: torch.Tensor) -> Answer:
    solution = solver.solve(CloudProblem(x, y))
    return solution.value, solution.marginal_error


def cloud_geomloss(x: torch.Tensor, y: torch.Tensor, epsilon: float) -> Answer:
    from geomloss import SamplesLoss

    # Their cost is half the squared distance, and blur squared is epsilon.
    blur = (epsilon / 2) ** 0.5
    loss = SamplesLoss("sinkhorn", p=2, blur=blur, debias=False, scaling=0.5, backend="tensorized")
    return 2 * loss(x, y).detach(), float("nan")


def _cloud_pot(x: torch.Tensor, y: torch.Tensor, epsilon: float) -> Answer:
    """In float32 and in torch, like the others; its threshold is on the L2 norm, 70 times below L1 at the worst."""
    import ot

    cost = torch.cdist(x, y).square_()
    a, b = x.new_full((len(x),), 1 / len(x)), y.new_full((len(y),), 1 / len(y))
    plan = ot.bregman.sinkhorn_log(a, b, cost, epsilon, stopThr=1e-6, numItermax=1000)
    value = (plan * cost).sum() + epsilon * torch.special.xlogy(plan, plan * (len(x) * len(y))).sum()
    return value, float((plan.sum(0) - b).abs().sum() + (plan.sum(1) - a).abs().sum())
