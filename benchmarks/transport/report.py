"""The section of `RESULTS.md`, from the rows."""

import argparse
import importlib.metadata
import platform
from pathlib import Path

import psutil

from benchmarks.transport.measure import EPSILON, processor_name
from benchmarks.transport.peers import PEER_TOLERANCE

BEGIN, END = "<!-- ot:begin -->", "<!-- ot:end -->"
PACKAGES = ("torch", "POT", "geomloss", "ott-jax", "jax", "numpy")


def versions() -> str:
    lines = []
    for name in PACKAGES:
        try:
            lines.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            lines.append(f"{name} not installed")
    return ", ".join(lines)


def report(
    rows: list[str], cloud_rows: list[str], options: argparse.Namespace, seconds: float, loads: tuple[float, float]
) -> str:
    whole = " --whole-batch" if options.whole_batch else ""
    return f"""## Entropic optimal transport

{processor_name()}, {options.threads} thread(s) of {psutil.cpu_count()} cores, which other work shared: load
{loads[0]:.1f} at the start, {loads[1]:.1f} at the end; threads wait passively (`OMP_WAIT_POLICY`), for all solvers.
{versions()}; Python {platform.python_version()}.
Written by `python benchmarks/solvers.py --threads {options.threads} --repeats {options.repeats}{whole}` in
{seconds:.0f} s.
Value and gradient (with respect to the cost and `b`), float32, epsilon {EPSILON} of the largest cost, which is 1. No
GPU was at hand.

How the peers were matched: POT's `solve_batch` runs with `tol={PEER_TOLERANCE}` (its own measure: L2, worst of the
batch); ours and OTT-JAX are then asked, for *every* problem, for the worst L1 error over both marginals that POT
reached. POT runs without autograd and its gradient is read from its plan and potentials, which is to its advantage
(recording its steps takes more than 20 GB in the shared case). `ot.sinkhorn` runs in float64 with
`stopThr={PEER_TOLERANCE}`. OTT-JAX is batched by `vmap` and compiled beforehand, which is not measured. GeomLoss has no
stopping rule: it runs once, for the steps named, and shows the error that it then has. Where a solver *ran* on fewer
problems than the batch, its time is scaled up in proportion, which is to the advantage of those that go on until the
worst problem of their batch is done. Runs are interleaved, but for POT's first, which sets what is asked of the others
and so comes before them; medians ± half the range; *slower* is the ratio of wall time to ours, *processor* that of
processor time, which other load disturbs less: where the range is wide, read that one. *Value off by*: largest
relative difference from the value solved in float64 to 1e-9, over eight problems. Memory is the peak above the start,
inputs not counted, of the problems that ran. *The matrix products* are those of ours at its mean number of steps,
alone.

| problem | solver | ran | runs | seconds | slower | processor | L1 error | value off by | MiB |
|---|---|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}

Two clouds of points, value only, epsilon {EPSILON}, medians of {options.repeats}. The dense cost alone is 95 MiB.
GeomLoss has no stopping rule and reports no error.

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
