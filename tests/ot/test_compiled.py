"""Under `torch.compile`, and what CUDA graphs ask for: that the host waits for nothing."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.torch_version import TorchVersion
from torch.utils._python_dispatch import TorchDispatchMode

from hf_ctkd.ot import OTProblem, Sinkhorn

PROGRAM = Path(__file__).with_name("compiled_program.py")
FIXED = {"max_steps": 30, "check_every": 30, "on_failure": "report"}
TRACED = pytest.mark.skipif(TorchVersion(torch.__version__) < "2.7", reason="torch 2.6 cannot trace the solver")
COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a compiler")
CASES = {
    "any-shared": [],
    "any-each": [],
    "training": [],
    "fixed-shared": [TRACED],
    "fixed-each": [TRACED],
    "rounded": [TRACED],
    "generated-any": [COMPILER],
    "generated-fixed": [COMPILER, TRACED],
}


@pytest.fixture(scope="module")
def wrong_cases(tmp_path_factory):
    """What is wrong with each case that is not skipped, out of one process: imports take as long as a case."""
    cases = [case for case, skips in CASES.items() if not any(skip.args[0] for skip in skips)]
    file = tmp_path_factory.mktemp("compiled") / "wrong.json"
    program = [sys.executable, str(PROGRAM), str(file), *cases]
    done = subprocess.run(program, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(file.read_text())


@pytest.mark.slow
@pytest.mark.timeout(600)  # the first one waits for all of them
@pytest.mark.parametrize("case", [pytest.param(case, marks=skips) for case, skips in CASES.items()])
def test_a_compiled_function_gives_the_same_value_and_gradient(wrong_cases, case):
    assert wrong_cases[case] is None, wrong_cases[case]


def inputs(shared):
    cost = torch.rand(*(() if shared else (4,)), 9, 6)
    return [tensor.requires_grad_() for tensor in (cost, torch.randn(4, 9), torch.randn(4, 6))]


def value(solver, cost, a, b):
    problem = OTProblem(cost, torch.softmax(a, -1), torch.softmax(b, -1), check=False)
    return solver.solve(problem).value.square().sum()


class Waits(TorchDispatchMode):
    """Which operations would make the host wait for an accelerator: those whose result or shape it must know."""

    KNOWN = ("_local_scalar_dense", "nonzero", "unique", "masked_select", "is_nonzero", "equal.default")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function)
        indices = args[1] if name.startswith("aten.index") and isinstance(args[1], (list, tuple)) else ()
        by_mask = any(torch.is_tensor(index) and index.dtype == torch.bool for index in indices)
        if by_mask or any(known in name for known in self.KNOWN):
            self.found.append(name)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("epsilon", [0.1, 0.02, 0.001])
@pytest.mark.parametrize("settings", [{}, {"tau_a": 3.0, "tau_b": 1.0}], ids=str)
def test_with_fixed_steps_the_host_waits_for_nothing(shared, epsilon, settings):
    tensors = inputs(shared)
    with Waits() as waits:
        value(Sinkhorn(epsilon, **FIXED, **settings), *tensors).backward()
    assert not waits.found


def test_else_it_waits_once_in_a_while_not_every_step():
    tensors, counts = inputs(shared=True), []
    for every in (5, 20):
        solver = Sinkhorn(0.02, 201, tolerance=1e-12, on_failure="report", check_every=every)
        with Waits() as waits:
            value(solver, *tensors)
        counts.append(len(waits.found))
    # One in each of 40 looks, or of 10, and a few before and after.
    assert counts[0] - counts[1] == pytest.approx(30, abs=3) and counts[1] < 20


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("settings", [{}, {"tau_a": 3.0, "tau_b": 1.0}], ids=str)
def test_fixed_steps_come_to_the_same_value(shared, settings):
    cost, a, b = (tensor.detach().double() for tensor in inputs(shared))
    given = OTProblem(cost, torch.softmax(a, -1), torch.softmax(b, -1))
    exact = Sinkhorn(0.05, tolerance=1e-10, **settings).solve(given)
    fixed = Sinkhorn(0.05, 150, tolerance=1e-6, check_every=150, on_failure="report", **settings).solve(given)
    assert fixed.converged.all()
    torch.testing.assert_close(fixed.value, exact.value, rtol=1e-7, atol=0)


def test_values_that_were_not_checked_show_in_the_status():
    cost, a, b = (tensor.detach() for tensor in inputs(shared=True))
    bad = torch.softmax(a, -1)
    bad[1] = torch.nan
    solution = Sinkhorn(0.1, **FIXED).solve(OTProblem(cost, bad, torch.softmax(b, -1), check=False))
    assert solution.converged.tolist() == [True, False, True, True]
    assert not solution.marginal_error[1] <= 1
