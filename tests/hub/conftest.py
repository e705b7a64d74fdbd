"""The loopback Hub of `tests/hub_server.py`, for a run that did not load it as a plugin."""

import sys
from pathlib import Path

if "hub_server" not in sys.modules:
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from hub_server import (  # noqa: F401
        hub,
        logged_in,
        no_waiting,
        pytest_configure,
        pytest_unconfigure,
        run_against_hub,
    )
