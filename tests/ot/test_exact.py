import doctest
import importlib
import subprocess
import sys

import pytest
import torch

from hf_ctkd.errors import NotConvergedError
from hf_ctkd.ot import OTProblem, exact


def test_one_dimensional_transport_is_the_distance_of_the_quantiles():
    points = torch.arange(6, dtype=torch.float64)
    cost = (points[:, None] - points).abs()
    a, b = (torch.softmax(torch.randn(3, 6, dtype=torch.float64), -1) for _ in range(2))
    expected = (a.cumsum(1) - b.cumsum(1)).abs().sum(1)
    torch.testing.assert_close(exact(OTProblem(cost, a, b)), expected)
    torch.testing.assert_close(exact(OTProblem(cost.expand(3, 6, 6), a, b)), expected)


def test_too_few_pivots_are_an_error():
    a = torch.full((1, 30), 1 / 30)
    with pytest.warns(UserWarning, match="numItermax"), pytest.raises(NotConvergedError, match="Increase `max_steps`"):
        exact(OTProblem(torch.rand(30, 30), a, a), max_steps=1)


def test_examples_in_the_documentation():
    assert doctest.testmod(importlib.import_module("hf_ctkd.ot.exact")).failed == 0


def test_the_solvers_run_where_pot_is_not_installed():
    code = "import sys; sys.modules['ot'] = None; from hf_ctkd.ot import Sinkhorn, exact"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
