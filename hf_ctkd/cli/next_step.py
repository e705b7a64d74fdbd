"""The flags of one command that its next command needs too."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from hf_ctkd.cli.arguments import COMMANDS
from hf_ctkd.errors import resolve_name
from hf_ctkd.records import TeacherRanking

_OF_ONE_COMMAND = {"teachers", "committee", "metrics", "task", "overwrite", "output_dir", "json"}
"""Flags that mean something else in the next command."""
_SECRETS = {"token", "hub_token"}
PLACEHOLDER = "ORG/MODEL"
"""Of a checkpoint that the reader has to choose."""


def flags_for(command: str, values: Mapping[str, Any]) -> list[str]:
    """Words that give the next command the values that this one has, where it would have others by default.

    Args:
        command: the next one.
        values: of the flags of this one, by name.

    Example:
        >>> flags_for("distill", {"split": "train", "label_column": "kind of leaf", "skip_bad_rows": True})
        ['--label_column', 'kind of leaf', '--skip_bad_rows']
    """
    defaults = _defaults(command)
    words: list[str] = []
    for name, value in values.items():
        if name in _OF_ONE_COMMAND | _SECRETS or name not in defaults or value == defaults[name]:
            continue
        words += _words(name, value)
    return words


def student_for(ranking: TeacherRanking) -> str:
    """The checkpoint that a student may start from: the smallest trained model of the ranking.

    Args:
        ranking: of which at least one teacher was scored.
    """
    trained = [teacher.candidate for teacher in ranking.scored if not teacher.candidate.is_control]
    sized = [candidate for candidate in trained if candidate.parameters]
    if not sized:
        return PLACEHOLDER
    smallest = min(sized, key=lambda candidate: candidate.parameters or 0)
    return smallest.model_id if smallest.source == "folder" else f"{smallest.model_id}@{smallest.revision}"


def _words(name: str, value: Any) -> list[str]:  # noqa: ANN401 (of any flag)
    if value is True:
        return [f"--{name}"]
    if isinstance(value, list):
        return [f"--{name}", *map(str, value)]
    text = json.dumps(value) if isinstance(value, bool | dict) else str(value)
    return [f"--{name}={text}"] if text.startswith("-") else [f"--{name}", text]


def _defaults(command: str) -> dict[str, Any]:
    arguments = COMMANDS[command]
    training = arguments.training
    kinds = [arguments.arguments, *([] if training is None else [resolve_name(training.config, "config")])]
    defaults = {
        field.name: field.default_factory()
        if field.default_factory is not dataclasses.MISSING
        else None
        if field.default is dataclasses.MISSING
        else field.default
        for kind in kinds
        for field in dataclasses.fields(kind)
        if field.init
    }
    return defaults | ({} if training is None else {"seed": 0})
