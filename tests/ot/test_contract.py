"""Our solver keeps the contract, and the contract notices one that does not."""

import pytest

from hf_ctkd.ot import Sinkhorn
from hf_ctkd.testing import check_solver


def test_sinkhorn_keeps_the_contract():
    check_solver(lambda problem, epsilon: Sinkhorn(epsilon, 100_000, tolerance=1e-11).solve(problem))


def test_contract_notices_a_solver_that_stops_after_one_step():
    with pytest.raises(AssertionError):
        check_solver(lambda problem, epsilon: Sinkhorn(epsilon, 1, on_failure="report").solve(problem))
