"""Lets the tests of this folder import its `contract` module by name."""

import sys
from pathlib import Path

# Imported first from within a package under jaxtyping's hook it is compiled anew, and its bad escapes are errors here.
import ot  # noqa: F401

sys.path.insert(0, str(Path(__file__).parent))
