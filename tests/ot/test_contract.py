"""Our solver keeps the contract; `tests/testing` holds what the contract notices."""

from hf_ctkd.ot import Sinkhorn
from hf_ctkd.testing import check_solver


def test_sinkhorn_keeps_the_contract():
    check_solver(lambda problem, epsilon: Sinkhorn(epsilon, 100_000, tolerance=1e-11).solve(problem))
