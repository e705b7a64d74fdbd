"""The limit on memory, held to what the allocator says, temporaries of single operations included."""

import json

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from hf_ctkd.ot import OTProblem, Sinkhorn

MIB = 2**20


@pytest.fixture
def peak(tmp_path):
    """Most bytes that a call holds above what was held before it."""

    def measure(call):
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
            result = call()
        recorded.export_chrome_trace(str(tmp_path / "trace.json"))
        events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
        held = [event["args"] for event in events if event["name"] == "[memory]"]
        start = held[0]["Total Allocated"] - held[0]["Bytes"]
        return max(event["Total Allocated"] for event in held) - start, result

    return measure


def problem(*, shared, batch, n, m):
    cost = torch.rand(*(() if shared else (batch,)), n, m, requires_grad=True)
    a, b = (torch.softmax(2 * torch.randn(batch, size), -1).requires_grad_() for size in (n, m))
    return OTProblem(cost, a, b)


def test_the_measure_sees_what_lives_within_an_operation(peak):
    numbers = torch.rand(MIB)
    held, _ = peak(lambda: torch.logsumexp(numbers, 0))
    assert 4 * MIB <= held < 9 * MIB


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [0.05, 0.01])
def test_one_cost_each_takes_the_limit_and_its_gradient(peak, epsilon):
    given = problem(shared=False, batch=40, n=250, m=100)
    limit = 2 * MIB
    solver = Sinkhorn(epsilon, 20, max_bytes=limit, on_failure="report")
    whole = given.cost.nbytes
    marginals = 40 * (250 + 100) * 8
    assert limit + 8 * marginals < whole
    solved, solution = peak(lambda: solver.solve(given))
    backward, _ = peak(lambda: solution.value.sum().backward())
    assert solved < limit + 8 * marginals
    assert backward < whole + limit + 4 * marginals


@pytest.mark.parametrize("epsilon", [0.05, 0.01])
def test_a_shared_cost_never_takes_a_plan_for_each_problem(peak, epsilon):
    given = problem(shared=True, batch=512, n=200, m=100)
    solver = Sinkhorn(epsilon, 50, max_bytes=2 * MIB, on_failure="report")
    marginals = 512 * (200 + 100) * (4 if epsilon > 1 / 60 else 8)
    solved, solution = peak(lambda: solver.solve(given))
    backward, _ = peak(lambda: solution.value.sum().backward())
    # Beyond the limit only marginals, potentials and their derivatives.
    allowed = 2 * MIB + 8 * marginals + 8 * given.cost.nbytes
    assert max(solved, backward) < allowed < 512 * 200 * 100 * 4 / 2


def test_validation_takes_next_to_nothing(peak):
    given = problem(shared=False, batch=200, n=100, m=50)
    held, _ = peak(lambda: OTProblem(given.cost, given.a, given.b))
    assert held < given.cost.nbytes / 20
