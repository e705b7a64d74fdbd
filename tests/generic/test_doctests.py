import doctest

import pytest


@pytest.mark.parametrize("name", ["hardware_budget", "pool", "supernet"])
def test_examples(name):
    module = __import__(f"hf_ctkd.generic.{name}", fromlist=["__doc__"])
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
