"""The loopback Hub of `tests/hub_server.py`, for a run that did not load it as a plugin."""

import importlib.util
import sys
from pathlib import Path

if "hub_server" not in sys.modules:
    _spec = importlib.util.spec_from_file_location("hub_server", Path(__file__).parent.parent / "hub_server.py")
    _module = importlib.util.module_from_spec(_spec)
    sys.modules["hub_server"] = _module
    _spec.loader.exec_module(_module)
    from hub_server import hub, logged_in, no_waiting, run_against_hub  # noqa: F401
