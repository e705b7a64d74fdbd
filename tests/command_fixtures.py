"""Fixtures of the tests that call the command line in this process."""

import pytest


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    """Each test has a working folder and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_CTKD_CACHE", str(tmp_path / "cache"))
