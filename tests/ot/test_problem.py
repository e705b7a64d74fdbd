import doctest
import sys

import pytest
import torch

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
