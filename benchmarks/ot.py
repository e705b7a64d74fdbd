"""Entropic transport side by side with its peers: same inputs, same epsilon, at least the same marginal error.

    python benchmarks/ot.py [--threads 2] [--repeats 5] [--whole-batch]

Writes its section of `benchmarks/RESULTS.md` and `benchmarks/figures/ot_growth.png`.
"""

import argparse
import contextlib
import ctypes
import importlib.metadata
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Python puts this folder first on the path, where this file would stand for POT's module `ot`.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np  # noqa: E402
import ot  # noqa: E402
import psutil  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from hf_ctkd.ot import CloudProblem, CloudSinkhorn, OTProblem, Sinkhorn  # noqa: E402

HERE = Path(__file__).parent
BEGIN, END = "<!-- ot:begin -->", "<!-- ot:end -->"
EPSILON = 0.05
PEER_TOLERANCE = 1e-5


@dataclass
class Run:
    """One solve with its gradients: what it took and how exact it was."""

    wall: float
    processor: float
    memory: float
    error: float
    values: Tensor


def row_error(plan: Tensor, a: Tensor, b: Tensor) -> float:
    """Worst L1 error of the marginals over the batch, both sides together."""
    rows, columns = (plan.sum(-1) - a).abs().sum(-1), (plan.sum(-2) - b).abs().sum(-1)
    return float((rows + columns).max())


class PeakMemory:
    """Most resident memory above the start, looked at every two milliseconds."""

    def __enter__(self):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)  # what earlier runs freed must not hide what this one takes
        self.process = psutil.Process()
        self.start = self.peak = self.process.memory_info().rss
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def _watch(self):
        while not self.stop.wait(0.002):
            self.peak = max(self.peak, self.process.memory_info().rss)

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        self.bytes = self.peak - self.start


def measured(solve: Callable[[], tuple[Tensor, float | Callable[[], float]]]) -> Run:
    with PeakMemory() as memory:
        wall, processor = time.perf_counter(), time.process_time()
        values, error = solve()
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return Run(wall, processor, memory.bytes, error() if callable(error) else error, values)


def inputs(batch: int, n: int, m: int, *, shared: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Uniform costs with largest entry 1, and softmax marginals of normal logits with deviation 2."""
    cost = torch.rand(n, m) if shared else torch.rand(batch, n, m)
    cost = cost / cost.amax((-1, -2), keepdim=True)
    return cost, torch.softmax(2 * torch.randn(batch, n), -1), torch.softmax(2 * torch.randn(batch, m), -1)


def ours(cost, a, b, tolerance, epsilon=EPSILON, warm_start=None):
    cost, b = cost.clone().requires_grad_(), b.clone().requires_grad_()
    solver = Sinkhorn(epsilon, tolerance=tolerance)
    solution = solver.solve(OTProblem(cost, a, b), warm_start=warm_start)
    solution.value.sum().backward()
    return solution.value.detach(), lambda: row_error(solution.plan(slice(0, 128)), a[:128], b.detach()[:128])


def pot_batch(cost, a, b, epsilon=EPSILON):
    """Without autograd, to POT's advantage: with it each step is recorded, in the shared case more than 20 GB."""
    batch = len(a)
    shared = cost.dim() == 2
    each = cost.expand(batch, -1, -1).contiguous() if shared else cost
    found = ot.solve_batch(
        each, epsilon, a, b, max_iter=5000, tol=PEER_TOLERANCE, method="log_sinkhorn", reg_type="kl", grad="detach"
    )
    plan = found.plan
    _gradient_cost = plan.sum(0) if shared else plan
    _gradient_b = epsilon * found.potentials[1]
    return found.value, lambda: row_error(plan, a, b)


def pot_loop(cost, a, b, epsilon=EPSILON):
    values, worst = [], 0.0
    for row in range(len(a)):
        each = (cost if cost.dim() == 2 else cost[row]).double().numpy()
        p, q = (mass[row].double().numpy() for mass in (a, b))
        p, q = p / p.sum(), q / q.sum()
        plan, _ = ot.sinkhorn(p, q, each, epsilon, stopThr=PEER_TOLERANCE, numItermax=5000, log=True, warn=False)
        values.append((plan * each).sum() + epsilon * (plan * np.log(np.maximum(plan, 1e-300) / np.outer(p, q))).sum())
        worst = max(worst, float(np.abs(plan.sum(1) - p).sum() + np.abs(plan.sum(0) - q).sum()))
    return torch.tensor(values), worst


def geomloss_batch(cost, a, b, steps, epsilon=EPSILON):
    from geomloss import ot as geomloss

    each = cost.expand(len(a), -1, -1) if cost.dim() == 2 else cost
    found = geomloss.solve_batch(each.contiguous(), reg=epsilon, a=a, b=b, max_iter=steps)
    return found.value.detach(), lambda: row_error(found.plan, a, b)


def compare(name: str, batch: int, n: int, m: int, *, shared: bool, options: argparse.Namespace) -> list[str]:
    """Rows of the table for one kind of problem."""
    torch.manual_seed(0)
    cost, a, b = inputs(batch, n, m, shared=shared)
    part = batch if options.whole_batch or not shared else min(batch, 128)
    few = (cost if shared else cost[:8], a[:8], b[:8])
    some = (cost if shared else cost[:part], a[:part], b[:part])
    tolerance = measured(lambda: pot_batch(*some)).error
    start = Sinkhorn(EPSILON, tolerance=tolerance).solve(OTProblem(cost, a, b)).potentials
    nudged = torch.softmax(b.log() + 0.05 * torch.randn_like(b), -1)
    steps = 300
    solvers = {
        "ours": (lambda: ours(cost, a, b, tolerance), 1.0),
        "ours, warm start": (lambda: ours(cost, a, nudged, tolerance, warm_start=start), 1.0),
        "POT `solve_batch(log_sinkhorn)`": (lambda: pot_batch(*some), batch / part),
        "POT `sinkhorn`, a loop": (lambda: pot_loop(*few), batch / 8),
        f"GeomLoss `ot.solve_batch`, {steps} steps": (lambda: geomloss_batch(*few, steps), batch / 8),
    }
    runs: dict[str, list[Run]] = {label: [] for label in solvers}
    for repeat in range(options.repeats):
        for label, (solve, _) in solvers.items():
            if repeat == 0 or not label.startswith("GeomLoss"):
                runs[label].append(measured(solve))
    true = Sinkhorn(EPSILON, tolerance=1e-9).solve(OTProblem(*(tensor.double() for tensor in few))).value
    own = statistics.median(run.wall for run in runs["ours"])
    own_processor = statistics.median(run.processor for run in runs["ours"])
    rows = []
    for label, (_, factor) in solvers.items():
        wall = factor * statistics.median(run.wall for run in runs[label])
        processor = factor * statistics.median(run.processor for run in runs[label])
        spread = factor * max(run.wall for run in runs[label]) - factor * min(run.wall for run in runs[label])
        error, memory = max(run.error for run in runs[label]), max(run.memory for run in runs[label])
        off = "" if "warm" in label else f"{(runs[label][0].values[:8] / true - 1).abs().max():.1e}"
        count = batch if factor == 1 else round(batch / factor)
        rows.append(
            f"| {name} | {label} | {count} | {wall:.3g} ± {spread / 2:.1g} | {wall / own:.3g} | "
            f"{processor / own_processor:.3g} | {error:.1e} | {off} | {memory / 2**20:.0f} |"
        )
    return rows


def clouds(points: int = 5000, width: int = 768) -> list[str]:
    """Two clouds: ours in blocks, and GeomLoss, whose dense backend is the one that runs without KeOps."""
    from geomloss import SamplesLoss

    torch.manual_seed(0)
    x, y = torch.randn(points, width), torch.randn(points, width) + 0.1
    epsilon = 0.05
    largest = float(torch.cdist(x[:1000], y).square().max())
    solver = CloudSinkhorn(epsilon, tolerance=1e-4)
    kept = []

    def own():
        solution = solver.solve(CloudProblem(x, y))
        kept.append(solution)
        return solution.value, solution.marginal_error

    def peer():
        # Their cost is half the squared distance, and blur squared is epsilon.
        blur = (epsilon * largest / 2) ** 0.5
        loss = SamplesLoss("sinkhorn", p=2, blur=blur, debias=False, scaling=0.5, backend="tensorized")
        return 2 * loss(x, y).detach(), float("nan")

    rows = []
    for label, solve in (("ours, in blocks", own), ("GeomLoss `SamplesLoss`, dense", peer)):
        run = measured(solve)
        rows.append(
            f"| {points} x {points} points, width {width} | {label} | {run.wall:.3g} | {run.processor:.3g} | "
            f"{run.error:.1e} | {run.memory / 2**20:.0f} | {float(run.values):.5g} |"
        )
    return rows


def growth(path: Path, repeats: int) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    base = {"batch": 128, "n": 100, "m": 50, "1 / epsilon": 20}
    sweeps = {
        "batch": [16, 64, 256, 1024, 4096],
        "n": [25, 100, 400, 1600],
        "m": [10, 50, 200, 400],
        "1 / epsilon": [5, 10, 20, 50, 100, 200],
    }
    figure, axes = pyplot.subplots(1, 4, figsize=(16, 3.6), layout="constrained", sharey=True)
    for axis, (name, points) in zip(axes, sweeps.items(), strict=True):
        for label, shared in (("ours, shared cost", True), ("ours, one cost each", False), ("POT log batch", None)):
            times = []
            for point in points:
                size = base | {name: point}
                if (shared is None and size["batch"] * size["n"] * size["m"] / 20 * size["1 / epsilon"] > 1.5e6) or (
                    shared is False and size["batch"] > 1024
                ):
                    times.append(np.nan)
                    continue
                torch.manual_seed(0)
                data = inputs(size["batch"], size["n"], size["m"], shared=bool(shared))
                epsilon = 1 / size["1 / epsilon"]
                solve = (
                    (lambda d=data, e=epsilon: pot_batch(*d, e))
                    if shared is None
                    else (lambda d=data, e=epsilon: ours(*d, 1e-5, e))
                )
                times.append(
                    statistics.median(measured(solve).wall for _ in range(repeats if shared is not None else 1))
                )
            axis.loglog(points, times, marker="o", label=label)
        axis.set_xlabel(name)
    axes[0].set_ylabel("seconds, value + gradient")
    axes[0].legend()
    figure.suptitle("Time against size; the rest at batch 128, n 100, m 50, epsilon 1/20")
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)


def processor_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def report(rows: list[str], cloud_rows: list[str], options: argparse.Namespace, seconds: float, load: float) -> str:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "POT", "geomloss", "numpy"))
    return f"""## Entropic optimal transport

{processor_name()}, {options.threads} thread(s) of {psutil.cpu_count()} cores, which other work
shared: load {load:.1f} at the start;
{versions}; Python {platform.python_version()}. Written by `python benchmarks/ot.py` in {seconds:.0f} s. Value and
gradient (with respect to the cost and `b`), float32, epsilon {EPSILON} of the largest cost, which is 1. OTT-JAX was not
installed; no GPU was at hand.

How the peers were matched: POT's `solve_batch` runs with `tol={PEER_TOLERANCE}` (its own measure: L2, worst of the
batch); ours is then asked, for *every* problem, for the worst L1 error over both marginals that POT reached.
POT runs without
autograd and its gradient is read from its plan and potentials, which is to its advantage (recording its steps takes
more than 20 GB in the shared case). `ot.sinkhorn` runs in float64 with `stopThr={PEER_TOLERANCE}`. GeomLoss has no
stopping rule: 300 steps, once, and the error it then has. Where a peer ran on fewer problems than the batch
(column *ran*), its
time is scaled up in proportion, which is to POT's advantage, since it goes on until the worst problem of its batch is
done. Runs are interleaved, {options.repeats} repeats, medians ± half the range; *slower* is the ratio of wall time to
ours, *processor* that of processor time (less disturbed by other load). *Value off by*: largest relative difference
from the value solved in float64 to 1e-9, over eight problems. Memory is the peak above the start, inputs not
counted, of the
problems that ran.

| problem | solver | ran | seconds | slower | processor | L1 error | value off by | MiB |
|---|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}

Two clouds of points, value only, epsilon {EPSILON}, one run. The dense cost alone is 95 MiB. GeomLoss has no stopping
rule and reports no error.

| problem | solver | seconds | processor seconds | L1 error | MiB | value |
|---|---|---|---|---|---|---|
{chr(10).join(cloud_rows)}

![growth](figures/ot_growth.png)
"""


def write_section(path: Path, text: str) -> None:
    old = path.read_text() if path.exists() else "# Results, written by the scripts in this folder\n"
    section = f"{BEGIN}\n{text}{END}\n"
    if BEGIN in old:
        head, rest = old.split(BEGIN, 1)
        new = head + section + rest.split(END, 1)[1].lstrip("\n")
    else:
        new = old.rstrip("\n") + "\n\n" + section
    path.write_text(new)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--whole-batch", action="store_true", help="run POT on all 1024 problems of the shared case")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    began, load = time.perf_counter(), psutil.getloadavg()[0]
    rows = compare("shared cost, 1024 of 1000 x 100", 1024, 1000, 100, shared=True, options=options)
    rows += compare("one cost each, 256 of 100 x 20", 256, 100, 20, shared=False, options=options)
    rows += compare("one cost each, 256 of 200 x 100", 256, 200, 100, shared=False, options=options)
    growth(HERE / "figures" / "ot_growth.png", 2)
    write_section(HERE / "RESULTS.md", report(rows, clouds(), options, time.perf_counter() - began, load))


if __name__ == "__main__":
    main()
