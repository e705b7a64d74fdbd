"""Models that timm published: their configuration names an architecture of timm and no class of transformers."""

import importlib.util
from collections.abc import Mapping
from typing import Any

from hf_ctkd.errors import ProblemCode, TeacherUnavailableError


def is_timm(config: Mapping[str, Any]) -> bool:
    """Whether a configuration is of a timm model.

    Args:
        config: content of its `config.json`.

    Example:
        >>> is_timm({"architecture": "resnet18", "num_classes": 1000, "pretrained_cfg": {}})
        True
    """
    if "model_type" in config:
        return config["model_type"] == "timm_wrapper"
    return isinstance(config.get("architecture"), str) and isinstance(config.get("pretrained_cfg"), dict)


def timm_label_names(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The classes of a timm model, None for one without a head.

    Args:
        config: content of its `config.json`.
    """
    names, count = config.get("label_names"), config.get("num_classes")
    if isinstance(names, list) and names:
        return tuple(str(name) for name in names)
    return tuple(f"LABEL_{number}" for number in range(count)) if isinstance(count, int) and count > 0 else None


def check_packages(config: Mapping[str, Any]) -> None:
    """Refuse a timm model where timm or torchvision, which its preprocessing needs, is not installed.

    Args:
        config: content of its `config.json`.

    Raises:
        TeacherUnavailableError: naming what is missing and how to install it.
    """
    if not is_timm(config):
        return
    missing = [name for name in ("timm", "torchvision") if importlib.util.find_spec(name) is None]
    if missing:
        raise TeacherUnavailableError(
            f"it is a timm model, and {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed. "
            'Run `pip install "hf_ctkd[timm]"`.',
            ProblemCode.MISSING_PACKAGE,
        )
