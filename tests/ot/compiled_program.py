"""Run by test_compiled.py in a process of its own, where nothing is wrapped in run-time type checks.

    python tests/ot/compiled_program.py FILE [CASE ...]

Writes into a file what is wrong with each case, which is nothing where a compiled function gives the numbers of the
plain one.
"""

import json
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch  # noqa: E402
from torch import nn  # noqa: E402

from hf_ctkd.ot import OTProblem, Sinkhorn  # noqa: E402

# Three times from one check to the next, an extrapolation between them; each step is traced, which takes long.
FIXED = {"max_steps": 15, "check_every": 15, "on_failure": "report"}


def inputs(shared):
    shapes = ((*(() if shared else (4,)), 9, 6), (4, 9), (4, 6))
    return [torch.rand(shape, dtype=torch.float64).requires_grad_() for shape in shapes]


def value(solver, check, cost, a, b):
    return solver.solve(OTProblem(cost, torch.softmax(a, -1), torch.softmax(b, -1), check=check)).value.square().sum()


def check_same(solver, shared, *, fullgraph, backend="aot_eager"):
    torch.manual_seed(0)
    tensors = inputs(shared)
    torch._dynamo.reset()
    compiled = torch.compile(value, backend=backend, fullgraph=fullgraph)
    for _ in range(2):
        plain, quick = (f(solver, not fullgraph, *tensors) for f in (value, compiled))
        torch.testing.assert_close(quick, plain)
        # A compiler may reorder sums, and extrapolation enlarges their rounding.
        gradients = (torch.autograd.grad(result, tensors) for result in (quick, plain))
        torch.testing.assert_close(*gradients, rtol=1e-7, atol=1e-9)
        tensors = [(tensor * 0.9).detach().requires_grad_() for tensor in tensors]


def trained(compiled):
    """Parameters of a student after three steps on the transport of its predictions."""
    torch.manual_seed(0)
    student, cost = nn.Linear(5, 6), torch.rand(9, 6)
    rows, said = torch.randn(8, 5), torch.softmax(torch.randn(8, 9), -1)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.5)
    solver = Sinkhorn(0.1, 200, tolerance=1e-3, on_failure="report")

    def loss(rows):
        return solver.solve(OTProblem(cost, said, torch.softmax(student(rows), -1))).value.mean()

    torch._dynamo.reset()
    loss = torch.compile(loss, backend="aot_eager") if compiled else loss
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        losses.append(loss(rows))
        losses[-1].backward()
        optimizer.step()
    if not losses[0] > losses[1] > losses[2]:
        raise AssertionError(f"the student does not learn: {losses}")
    return list(student.parameters())


def whole(shared):
    """With fixed steps the whole function is one graph: `fullgraph` makes a break an error."""
    for settings in ({}, {"tau_a": 3.0}, {"epsilon": 0.005}):
        check_same(Sinkhorn(**FIXED, **settings), shared, fullgraph=True)


def broken(shared):
    for settings in ({}, {"tau_a": 3.0}, {"epsilon": 0.005}):
        check_same(Sinkhorn(**settings), shared, fullgraph=False)


def rounded():
    """A graph cannot switch TF32 off, so that it works in 64 bits where that is on."""
    torch.set_float32_matmul_precision("high")
    cost, a, b = (tensor.detach().float() for tensor in inputs(shared=True))

    def potential(cost):
        problem = OTProblem(cost, torch.softmax(a, -1), torch.softmax(b, -1), check=False)
        return Sinkhorn(**FIXED).solve(problem).factors.f

    for precision, dtype in (("high", torch.float64), ("highest", torch.float32)):
        torch.set_float32_matmul_precision(precision)
        result = torch.compile(potential, backend="aot_eager", fullgraph=True)(cost)
        if result.dtype != dtype:
            raise AssertionError(f"solved in {result.dtype} where products are of precision {precision!r}")
        torch.testing.assert_close(result, potential(cost).to(dtype), rtol=1e-4, atol=1e-5)


CASES = {
    "any-shared": lambda: broken(True),
    "any-each": lambda: broken(False),
    "training": lambda: torch.testing.assert_close(trained(True), trained(False)),
    "fixed-shared": lambda: whole(True),
    "fixed-each": lambda: whole(False),
    "rounded": rounded,
    "generated-any": lambda: check_same(Sinkhorn(), True, fullgraph=False, backend="inductor"),
    "generated-fixed": lambda: check_same(
        Sinkhorn(0.05, 10, check_every=10, on_failure="report"), True, fullgraph=True, backend="inductor"
    ),
}


def wrong_with(case):
    torch._dynamo.reset()
    try:
        CASES[case]()
    except (AssertionError, RuntimeError):  # other numbers, or what the compiler cannot do
        return traceback.format_exc()
    return None


if __name__ == "__main__":
    torch.set_num_threads(1)
    Path(sys.argv[1]).write_text(json.dumps({case: wrong_with(case) for case in sys.argv[2:]}))
