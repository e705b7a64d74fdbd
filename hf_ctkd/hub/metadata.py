"""What a model's configuration and card say: classes, task, licence, languages."""

from collections.abc import Mapping
from typing import Any

from hf_ctkd.errors import ProblemCode, TeacherUnavailableError

_CLASSIFIERS = {"ForImageClassification": "image-classification", "ForSequenceClassification": "text-classification"}


def task_of(config: Mapping[str, Any]) -> str | None:
    """Tell the task of a classifier by its architecture; None for anything else."""
    for architecture in _architectures(config):
        for part, task in _CLASSIFIERS.items():
            if part in str(architecture):
                return task
    return None


def label_names_of(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """List the classes in the order of their ids, as they stand; None for a model without a head.

    A classifier whose configuration is silent has the two classes that transformers gives it.

    Raises:
        TeacherUnavailableError: if `id2label` is no mapping from integers.
    """
    architectures = _architectures(config)
    if architectures and task_of(config) is None:
        return None
    id2label = config.get("id2label")
    if id2label is None:
        return ("LABEL_0", "LABEL_1") if architectures else None
    try:
        return tuple(str(id2label[key]) for key in sorted(id2label, key=int))
    except (TypeError, ValueError) as error:
        raise TeacherUnavailableError(
            "`id2label` of its configuration must map integers to names.", ProblemCode.BROKEN
        ) from error


def license_of(card: Mapping[str, Any], tags: tuple[str, ...] = ()) -> str | None:
    """Find the licence on a card, by its own name where the identifier is just "other"; else from the tags."""
    stated = _first(card.get("license"))
    if stated == "other":
        return _first(card.get("license_name")) or stated
    return stated or next((tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), None)


def languages_of(card: Mapping[str, Any]) -> tuple[str, ...]:
    """List the language tags on a card."""
    stated = card.get("language")
    # YAML reads the tag of Norwegian as a truth value.
    values = stated if isinstance(stated, list) else [] if stated is None else [stated]
    return tuple("no" if value is False else str(value) for value in values)


def _architectures(config: Mapping[str, Any]) -> tuple[str, ...]:
    stated = config.get("architectures")
    return tuple(str(name) for name in stated) if isinstance(stated, list) else ()


def _first(value: object) -> str | None:
    values = value if isinstance(value, list) else [value]
    return str(values[0]) if values and values[0] else None
