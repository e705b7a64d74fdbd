import doctest
import sys
from types import SimpleNamespace

import pytest
import torch
from ot_problems import prepared, problem

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.ot import OTProblem

A = torch.tensor([[0.5, 0.5]])
B = torch.tensor([[0.2, 0.3, 0.5]])
COST = torch.ones(2, 3)


@pytest.mark.parametrize(
    ("cost", "a", "b", "message"),
    [
        (COST.long(), A, B, r"`cost` must hold floating point numbers, got torch.int64. Convert it"),
        (COST, A[0], B, r"`a` must be \[batch, n\].* got \[2\], \[1, 3\] and \[2, 3\]"),
        (COST, A.expand(2, 2), B, r"`a` and `b` must hold equally many problems, got 2 and 1 rows"),
        (COST.T, A, B, r"`cost` must have shape \[2, 3\] to fit `a` and `b`, got \[3, 2\]"),
        (COST.expand(2, 2, 3), A, B, r"`cost` must have shape \[1, 2, 3\] .* got \[2, 2, 3\]"),
        (torch.ones(0, 3), torch.ones(1, 0), B, r"must not be empty, got a problem of \(1, 0, 3\)"),
        (-COST, A, B, r"`cost` has a negative, NaN or infinite entry"),
        (COST * torch.nan, A, B, r"`cost` has a negative, NaN or infinite entry"),
        (COST * torch.inf, A, B, r"`cost` has a negative, NaN or infinite entry"),
        (COST, torch.tensor([[1.5, -0.5]]), B, r"`a` has a negative or NaN entry"),
        (COST, A, B * torch.nan, r"`b` has a negative or NaN entry"),
        (COST, A, 2 * B, r"Each row of `b` must sum to 1, but row 0 sums to 2. Divide it by its sum"),
        (COST, torch.zeros_like(A), B, r"Each row of `a` must sum to 1, but row 0 sums to 0"),
        (COST.to("meta"), A, B, r"must be on one device, got meta, cpu and cpu"),
    ],
)
def test_bad_input_is_refused(cost, a, b, message):
    with pytest.raises(InvalidArgumentError, match=message):
        OTProblem(cost, a, b)


def test_sixteen_bits_are_given_their_rounding_and_computed_in_thirty_two():
    a = torch.softmax(torch.randn(4, 100), -1).bfloat16()
    problem = OTProblem(torch.rand(100, 3).bfloat16(), a, torch.full((4, 3), 1 / 3).bfloat16())
    assert problem.dtype == torch.float32
    assert problem.shape == (4, 100, 3)
    assert problem.shared


def test_examples_in_the_documentation():
    assert doctest.testmod(sys.modules[OTProblem.__module__]).failed == 0


def test_settings_are_in_units_of_the_largest_cost():
    given = problem(shared=False)
    found = prepared(OTProblem(7 * given.cost, given.a, given.b), tau=0.5)
    largest = 7 * given.cost.amax((1, 2))
    torch.testing.assert_close(found.scale, largest)
    torch.testing.assert_close(found.epsilon, 0.1 * largest)
    torch.testing.assert_close(found.tau_a, 0.5 * largest)
    assert found.sharpest == pytest.approx(10) and found.uniform


def test_a_cost_of_zero_has_a_scale_to_divide_by():
    given = problem()
    assert prepared(OTProblem(torch.zeros_like(given.cost), given.a, given.b)).scale.tolist() == [1.0]


def test_marginals_sum_to_one_in_the_working_type():
    given = problem(dtype=torch.float32)
    loose = OTProblem(given.cost, given.a * (1 + 5e-5), given.b)
    sharp = prepared(loose, 0.001)
    assert (prepared(loose).a.dtype, sharp.a.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(sharp.a.sum(-1), torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-15)


def test_what_has_no_mass_does_not_reach_the_scale():
    given = problem(shared=False)
    a = given.a.clone()
    a[0, 0], a[0, 1] = 0.0, a[0, 1] + a[0, 0]
    cost = given.cost.clone()
    cost[0, 0] = 1e9
    assert float(prepared(OTProblem(cost, a, given.b)).scale.max()) <= 1


@pytest.mark.parametrize("shared", [True, False])
def test_a_selection_is_the_work_of_the_selected(shared):
    given, rows = problem(shared), torch.tensor([2, 0])
    found = prepared(given).select(rows)
    expected = prepared(OTProblem(given.cost if shared else given.cost[rows], given.a[rows], given.b[rows]))
    for name, value in vars(expected).items():
        torch.testing.assert_close(vars(found)[name], value)


def test_blocks_cover_every_problem_once():
    rows = torch.arange(3)
    assert [rows[block].tolist() for block in prepared(problem()).blocks(2)] == [[0, 1], [2]]


def test_an_array_of_numpy_is_named():
    # Through its check alone, as the tests also check types at run time.
    with pytest.raises(InvalidArgumentError, match="`cost` must be a torch tensor, got ndarray. Convert it with"):
        OTProblem.__post_init__(SimpleNamespace(cost=COST.numpy(), a=A, b=B))
