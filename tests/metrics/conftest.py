"""Makes the contract importable by the tests of this folder."""

import importlib.util
import pathlib

# POT has an invalid escape; imported first through a hooked module it would be compiled anew, and the warning raised.
import ot  # noqa: F401
import pytest


def _load(name):
    path = pathlib.Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"metrics_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def contracts():
    return _load("contracts")
