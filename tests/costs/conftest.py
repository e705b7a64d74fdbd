"""Makes the contract importable by the tests of this folder."""

import importlib.util
import pathlib

import pytest


def _load(name):
    path = pathlib.Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"costs_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def contracts():
    return _load("contracts")
