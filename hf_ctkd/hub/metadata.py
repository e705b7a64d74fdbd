"""What a model's configuration and card say: classes, task, licence, languages."""

from collections.abc import Mapping
from typing import Any

from hf_ctkd.errors import ProblemCode, TeacherUnavailableError
from hf_ctkd.hub.timm import is_timm, timm_label_names

_CLASSIFIERS = {"ForImageClassification": "image-classification", "ForSequenceClassification": "text-classification"}

UNTRAINED = "random-weights"
"""The tag of a model that was never trained."""


def task_of(config: Mapping[str, Any]) -> str | None:
    """Tell the task of a classifier by its architecture; None for anything else."""
    if is_timm(config):
        return "image-feature-extraction" if timm_label_names(config) is None else "image-classification"
    for architecture in _architectures(config):
        for part, task in _CLASSIFIERS.items():
            if part in str(architecture):
                return task
    return None


def label_names_of(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """List the classes in the order of their ids, as they stand; None for a model without a head.

    A classifier whose configuration is silent has the two classes that transformers gives it.

    Raises:
        TeacherUnavailableError: if `id2label` is no mapping from integers, or a name is no text that can be written.
    """
    if is_timm(config):
        return timm_label_names(config)
    architectures = _architectures(config)
    if architectures and task_of(config) is None:
        return None
    id2label = config.get("id2label")
    if id2label is None:
        return ("LABEL_0", "LABEL_1") if architectures else None
    try:
        names = tuple(str(id2label[key]) for key in sorted(id2label, key=int))
    except (TypeError, ValueError, RecursionError) as error:
        raise TeacherUnavailableError(
            "`id2label` of its configuration must map integers to names.", ProblemCode.BROKEN
        ) from error
    if not _is_text("".join(names)):
        raise TeacherUnavailableError(
            "`id2label` of its configuration holds a name that is no text (half of a surrogate pair).",
            ProblemCode.BROKEN,
        )
    return names


def license_of(card: Mapping[str, Any], tags: tuple[str, ...] = ()) -> str | None:
    """Find the licence on a card, by its own name where the identifier is just "other"; else from the tags."""
    stated = _first(card.get("license"))
    if stated == "other":
        return _first(card.get("license_name")) or stated
    return stated or next((tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), None)


def is_untrained(tags: object) -> bool:
    """Tell whether a model's tags say that its weights are random.

    Args:
        tags: of its card or of the Hub; anything but a list says nothing.
    """
    return isinstance(tags, list) and UNTRAINED in tags


def languages_of(card: Mapping[str, Any]) -> tuple[str, ...]:
    """List the language tags on a card."""
    stated = card.get("language")
    # YAML reads the tag of Norwegian as a truth value.
    values = ("no" if value is False else _text(value) for value in (stated if isinstance(stated, list) else [stated]))
    return tuple(value for value in values if value is not None)


def _architectures(config: Mapping[str, Any]) -> tuple[str, ...]:
    stated = config.get("architectures")
    return tuple(name for name in stated if isinstance(name, str)) if isinstance(stated, list) else ()


def _first(value: object) -> str | None:
    values = value if isinstance(value, list) else [value]
    return _text(values[0]) if values else None


def _text(value: object) -> str | None:
    # A list or mapping is never written out: a few lines of YAML, whose parts refer to each other, stand for gigabytes.
    return str(value) if isinstance(value, str | int | float) and value and _is_text(str(value)) else None


def _is_text(value: str) -> bool:
    """Whether it can be written as UTF-8: JSON may hold halves of surrogate pairs."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
