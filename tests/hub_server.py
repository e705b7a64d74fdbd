"""A Hub on loopback: the real huggingface_hub client of the tests talks to it, and can reach no other.

A pytest plugin (`pytest_plugins = ["hub_server"]`, with this folder on `sys.path`). Importing it serves an empty Hub on
a free port and points the environment there, which must happen before huggingface_hub is imported: its endpoint is read
at import. Subprocesses inherit the environment, so the command line talks to the same Hub.

    def test_something(hub, logged_in):
        sha = hub.add("org/model", {"config.json": b"{}"}, gated="manual")
        hub.fault("resolve/.*safetensors", truncate=True)
"""

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import pytest
from loopback_hub import TOKEN, USER, LoopbackHub

__all__ = ["HUB", "TOKEN", "USER", "model_files", "needs_retried_listings"]

needs_retried_listings = pytest.mark.skipif(
    tuple(map(int, version("huggingface_hub").split(".")[:2])) < (2, 1),
    reason="before 2.1 huggingface_hub does not repeat the first request of a listing that the Hub refused",
)
"""For tests of what huggingface_hub does by itself when a listing is refused."""

ROOT = Path(__file__).parent.parent


def _serve_and_point_the_environment() -> LoopbackHub:
    if "huggingface_hub" in sys.modules:
        raise RuntimeError("huggingface_hub was imported before the loopback Hub, and would reach for the real one.")
    served = LoopbackHub()
    home = tempfile.mkdtemp(prefix="hf-home-")
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HF_XET_CACHE"):
        os.environ.pop(name, None)
    os.environ |= {
        "HF_ENDPOINT": served.url,
        "HF_HOME": home,
        "HF_HUB_OFFLINE": "0",
        "TRANSFORMERS_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
    return served


HUB = _serve_and_point_the_environment()


def pytest_configure(config) -> None:
    # huggingface_hub 2.4 uploads large files in a way that its HTTP library deprecates; drop this once it is mended.
    config.addinivalue_line("filterwarnings", "ignore:Use 'content=:DeprecationWarning")


def pytest_unconfigure() -> None:
    HUB.shutdown()
    HUB.server_close()
    shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)


@pytest.fixture
def hub(monkeypatch):
    """An empty Hub, nobody logged in."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    HUB.clear()
    yield HUB
    HUB.clear()


@pytest.fixture
def logged_in(hub, monkeypatch):
    """The user "me" is logged in, here and in subprocesses; gives the token."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return TOKEN


@pytest.fixture
def no_waiting(monkeypatch):
    """The client waits for seconds between its attempts; record them here instead."""
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


@pytest.fixture
def run_against_hub(hub):
    """Run a script, or the arguments of a command, in a fresh Python that talks to the Hub of this test."""

    def run(script: str | list[str], timeout: float = 120, **environment: str) -> subprocess.CompletedProcess:
        arguments = ["-c", script] if isinstance(script, str) else script
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        return subprocess.run(
            [sys.executable, *arguments],
            env={**os.environ, "PYTHONPATH": path, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


def model_files(
    architecture: str | None = "ResNetForImageClassification",
    labels: list[str] | None = None,
    *,
    parameters: int = 6,
    card: str | None = "license: apache-2.0",
    **extra: bytes,
) -> dict[str, bytes]:
    """The files of a tiny repository whose weights are one tensor; no model that could be run."""
    config: dict = {"model_type": "resnet", "architectures": [architecture] if architecture else None}
    if labels is not None:
        config["id2label"] = {str(index): name for index, name in enumerate(labels)}
    header = json.dumps(
        {"weight": {"dtype": "F32", "shape": [parameters], "data_offsets": [0, 4 * parameters]}}
    ).encode()
    header += b" " * (-len(header) % 8)
    files = {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": struct.pack("<Q", len(header)) + header + bytes(4 * parameters),
        "preprocessor_config.json": b'{"image_processor_type": "ConvNextImageProcessor"}',
    }
    if card is not None:
        files["README.md"] = f"---\n{card}\n---\n# A model\n".encode()
    return {**files, **extra}
