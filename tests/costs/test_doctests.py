import doctest
import importlib

import pytest

import hf_ctkd.costs


@pytest.mark.parametrize(
    "module",
    [
        "costs.empirical",
        "costs.joint",
        "probes.prior",
        "costs.prototype",
        "probes.probe",
        "ot.row_transport",
        "costs.semantic",
        "costs.shared",
    ],
)
def test_examples_in_docstrings_run(module):
    result = doctest.testmod(importlib.import_module(f"hf_ctkd.{module}"))
    assert result.attempted > 0 and result.failed == 0


def test_every_public_name_is_exported():
    assert all(name in vars(hf_ctkd.costs) for name in hf_ctkd.costs.__all__)
