import pytest
import torch

from hf_ctkd.ot import OTProblem
from hf_ctkd.ot.prepared import PreparedProblem

INFINITE = float("inf")


def problem(shared=True, dtype=torch.float64):
    cost = torch.rand(*(() if shared else (3,)), 5, 4, dtype=dtype)
    a, b = (torch.softmax(torch.randn(3, size, dtype=dtype), -1) for size in (5, 4))
    return OTProblem(cost, a, b)


def prepared(given, epsilon=0.1, tau=INFINITE):
    return PreparedProblem.of(given, epsilon, tau_a=tau, tau_b=tau)


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
