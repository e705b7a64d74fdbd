"""The contract that every one of them must keep."""

import pytest

from hf_ctkd.testing import costs


@pytest.fixture(scope="session")
def contracts():
    return costs
