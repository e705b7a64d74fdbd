"""Sizes of blocks, and how often a solve waits and launches: what an accelerator's time goes into."""

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from waits import counted_waits

from hf_ctkd.ot import CloudProblem, CloudSinkhorn, OTProblem, Sinkhorn
from hf_ctkd.ot.memory import CPU_BYTES, block_bytes


class Launches(TorchDispatchMode):
    """Operations by name, without those that only make another view of a tensor."""

    VIEWS = ("view", "slice", "select", "unsqueeze", "expand", "transpose", "detach", "aten.t.default", "alias")

    def __init__(self):
        super().__init__()
        self.names = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if not any(view in str(function) for view in self.VIEWS):
            self.names[str(function)] += 1
        return function(*args, **(kwargs or {}))


def inputs(batch, n, m, *, shared):
    generator = torch.Generator().manual_seed(0)
    cost = torch.rand(*(() if shared else (batch,)), n, m, generator=generator)
    return cost, *(torch.softmax(2 * torch.randn(batch, size, generator=generator), -1) for size in (n, m))


@pytest.mark.parametrize("shared", [True, False])
def test_a_problem_is_checked_in_one_look(shared):
    with counted_waits() as waits:
        OTProblem(*inputs(4, 9, 6, shared=shared))
    assert sum(waits.values()) == 1


def test_waits_and_launches_of_the_usual_problem():
    cost, a, b = inputs(64, 1000, 100, shared=True)
    with counted_waits() as waits, Launches() as launches:
        solution = Sinkhorn(0.05).solve(OTProblem(cost, a, b))
    steps = int(solution.steps.max())
    # One look in five steps, the check of the inputs, what was left over, and whether all converged.
    assert sum(waits.values()) <= steps / 5 + 3
    assert launches.names["aten.mm.default"] <= 2 * steps + 2
    assert sum(launches.names.values()) <= 20 * steps + 60


def test_launches_of_a_step():
    problem = OTProblem(*inputs(16, 60, 20, shared=True))
    counts = []
    for steps in (20, 120):
        with Launches() as launches:
            Sinkhorn(0.05, steps, check_every=steps, on_failure="report").solve(problem)
        counts.append(sum(launches.names.values()))
    assert (counts[1] - counts[0]) / 100 <= 14


def test_the_largest_cost_of_clouds_is_read_once():
    x, y = torch.rand(64, 3), torch.rand(50, 3)
    counts = []
    for limit in (None, 2_000):
        with counted_waits() as waits:
            CloudSinkhorn(0.1, max_bytes=limit).solve(CloudProblem(x, y))
        counts.append(sum(waits.values()))
    assert counts[0] == counts[1]


def test_blocks_follow_the_memory_that_is_free(monkeypatch):
    device, gib = torch.device("cuda"), 2**30
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100 * gib, 139 * gib))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 30 * gib)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 10 * gib)
    assert block_bytes(device, None) == 30 * gib
    assert block_bytes(device, 5) == 5
    assert block_bytes(torch.device("cpu"), None) == CPU_BYTES
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 139 * gib))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 30 * gib)
    assert block_bytes(device, None) == CPU_BYTES
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", None)
    assert block_bytes(device, None) == CPU_BYTES
