"""The contract that every one of them must keep."""

import pytest

from hf_ctkd.testing import metrics


@pytest.fixture(scope="session")
def contracts():
    return metrics
