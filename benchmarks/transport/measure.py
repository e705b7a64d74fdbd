"""One solve, measured: time, processor time, memory, marginal error."""

import contextlib
import ctypes
import platform
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor

EPSILON = 0.05


@dataclass
class Run:
    """One solve with its gradients: what it took and how exact it was."""

    wall: float
    processor: float
    memory: float
    error: float
    values: Tensor


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
    """Run once. The error may come as a function, which is called after the clock has stopped."""
    with PeakMemory() as memory:
        wall, processor = time.perf_counter(), time.process_time()
        values, error = solve()
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return Run(wall, processor, memory.bytes, error() if callable(error) else error, values)


def median(runs: list[Run], name: str) -> float:
    return statistics.median(vars(run)[name] for run in runs)


def marginal_error(plan: Tensor, a: Tensor, b: Tensor) -> float:
    """Worst L1 error of the marginals over the batch, both sides together."""
    rows, columns = (plan.sum(-1) - a).abs().sum(-1), (plan.sum(-2) - b).abs().sum(-1)
    return float((rows + columns).max())


def inputs(batch: int, n: int, m: int, *, shared: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Uniform costs with largest entry 1, and softmax marginals of normal logits with deviation 2."""
    torch.manual_seed(0)
    cost = torch.rand(n, m) if shared else torch.rand(batch, n, m)
    cost = cost / cost.amax((-1, -2), keepdim=True)
    return cost, torch.softmax(2 * torch.randn(batch, n), -1), torch.softmax(2 * torch.randn(batch, m), -1)


def processor_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()
