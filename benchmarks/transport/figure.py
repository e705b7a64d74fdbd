"""Time against batch, n, m and 1 / epsilon, as a figure."""

import statistics
from pathlib import Path

import numpy as np

from benchmarks.transport.measure import inputs, measured
from benchmarks.transport.peers import PEER_TOLERANCE, ours, pot_batch

BASE = {"batch": 128, "n": 100, "m": 50, "1 / epsilon": 20}
SWEEPS = {
    "batch": [16, 64, 256, 1024, 4096],
    "n": [25, 100, 400, 1600],
    "m": [10, 50, 200, 400],
    "1 / epsilon": [5, 10, 20, 50, 100, 200, 500, 1000],
}
MOST_FOR_POT = 1.5e6
"""Entries of all plans times the steps that epsilon asks for, relative to the base: above it, minutes each."""


def seconds(size: dict[str, int], solver: str, repeats: int) -> float:
    batch, n, m, sharpness = size.values()
    if solver == "POT log batch" and batch * n * m * sharpness / BASE["1 / epsilon"] > MOST_FOR_POT:
        return np.nan
    if solver == "ours, one cost each" and batch > 1024:
        return np.nan
    data = inputs(batch, n, m, shared=solver == "ours, shared cost")
    if solver == "POT log batch":
        return measured(lambda: pot_batch(*data, 1 / sharpness)).wall
    return statistics.median(measured(lambda: ours(*data, PEER_TOLERANCE, 1 / sharpness)).wall for _ in range(repeats))


def growth(path: Path, repeats: int) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 4, figsize=(16, 3.6), layout="constrained", sharey=True)
    for axis, (name, points) in zip(axes, SWEEPS.items(), strict=True):
        for solver in ("ours, shared cost", "ours, one cost each", "POT log batch"):
            times = [seconds(BASE | {name: point}, solver, repeats) for point in points]
            axis.loglog(points, times, marker="o", label=solver)
        axis.set_xlabel(name)
    axes[0].set_ylabel("seconds, value + gradient")
    axes[2].legend(loc="upper right", fontsize="small")
    rest = ", ".join(f"{name} {value}" for name, value in BASE.items())
    figure.suptitle(f"Time against size; the rest at {rest}")
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)
