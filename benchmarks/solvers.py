"""Entropic transport side by side with its peers: same inputs, same epsilon, at least the same marginal error.

    python benchmarks/solvers.py [--threads 2] [--repeats 5] [--whole-batch]

Writes its section of `benchmarks/RESULTS.md` and `benchmarks/figures/ot_growth.png`. GeomLoss and OTT-JAX take part
where they are installed (`pip install geomloss ott-jax`).
"""

import argparse
import os
import sys
import time
from pathlib import Path

# Python puts this folder first on the path, where this file would stand for POT's module `ot`.
sys.path[0] = str(Path(__file__).resolve().parents[1])
# Where other work shares the cores, threads that wait actively take them from the thread that they wait for.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import psutil  # noqa: E402
import torch  # noqa: E402

from benchmarks.transport.figure import growth  # noqa: E402
from benchmarks.transport.report import report, write_section  # noqa: E402
from benchmarks.transport.tables import clouds, compare  # noqa: E402

HERE = Path(__file__).parent
PROBLEMS = (
    ("shared cost, 1024 of 1000 x 100", 1024, 1000, 100, True),
    ("one cost each, 256 of 100 x 20", 256, 100, 20, False),
    ("one cost each, 256 of 200 x 100", 256, 200, 100, False),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--whole-batch", action="store_true", help="run POT on all 1024 problems of the shared case")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    began, load = time.perf_counter(), psutil.getloadavg()[0]
    rows: list[str] = []
    for name, batch, n, m, shared in PROBLEMS:
        rows += compare(name, batch, n, m, shared=shared, options=options)
        print("\n".join(rows), flush=True)
    cloud_rows = clouds(options.repeats)
    growth(HERE / "figures" / "ot_growth.png", 2)
    loads = (load, psutil.getloadavg()[0])
    write_section(HERE / "RESULTS.md", report(rows, cloud_rows, options, time.perf_counter() - began, loads))


if __name__ == "__main__":
    main()
