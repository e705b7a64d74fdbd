"""Shapes and types of every public function are checked at run time under the tests."""

import gc
import os
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
pytest_plugins = ["hub_server"]  # points every client at a Hub on loopback, before huggingface_hub is imported

import ot  # noqa: E402, F401 (imported under the hook, POT would be compiled again, with warnings)

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")

from jaxtyping import install_import_hook

# Not the configuration: the hook takes the default factories of its inherited fields for values.
CHECKED = (
    "types",
    "ot",
    "index",
    "costs",
    "teachers",
    "metrics",
    "losses",
    "selection",
    "training.student_with_loss",
    "training.evaluation",
    "generic.families",
    "generic.path_distribution",
    "generic.supernet",
)
install_import_hook([f"hf_ctkd.{module}" for module in CHECKED], "beartype.beartype")

import pytest  # noqa: E402
import torch  # noqa: E402


@pytest.fixture(autouse=True)
def _same_numbers_every_time():
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def free_port():
    """A port for the processes of one launch at a time; older versions of torch wait for ever at port 0."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def pytest_collection_finish():
    """What was imported stays to the end: no search for garbage, half a second each, needs to go through it again."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items):
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no accelerator on this machine"))
