"""Teachers by name, wherever a user may write one: a folder, an id on the Hub, or a control of either."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from huggingface_hub import HfApi

from hf_ctkd.hub.control import RANDOM, random_like
from hf_ctkd.hub.folders import folder_card, folder_teachers, is_model, model_folders, without_model
from hf_ctkd.hub.metadata import license_of
from hf_ctkd.hub.problems import HubFailure
from hf_ctkd.hub.search import hub_teachers, model_info, stated_license
from hf_ctkd.records import NOT_LOOKED_UP, TeacherCandidate


def candidates_named(name: str | Path, *, token: str | None = None) -> Iterator[TeacherCandidate]:
    """The teachers that one name stands for; those on the Hub are looked up as they are asked for.

    Use it for what a user typed. To search the Hub use `hub_teachers`.

    Args:
        name: a folder of one model or of many (one without any is listed with that problem), `"org/name"` or
            `"org/name@revision"` on the Hub, or either of one model after `"random:"`, for its `random_like`. A string
            that is no folder is an id; a path is always a folder.
        token: access token of the Hub; the stored login when None.

    Raises:
        InvalidArgumentError: if a path is no folder, or it can be no id; for one after `"random:"` while iterating.

    Example:
        >>> [teacher.name for teacher in candidates_named("zoo")]  # doctest: +SKIP
        ['zoo/digits', 'zoo/letters']
    """
    if isinstance(name, str) and name.startswith(RANDOM):
        return _control_named(name.removeprefix(RANDOM), token)
    folder = Path(name)
    if os.path.isdir(folder) and not model_folders(folder):
        return iter([without_model(folder)])  # named beside others, it costs no more than itself
    if isinstance(name, Path) or os.path.isdir(folder):
        return folder_teachers(name)
    return hub_teachers(name, token=token)


def _control_named(name: str, token: str | None) -> Iterator[TeacherCandidate]:
    folder = Path(name)
    if os.path.isdir(folder) and not is_model(folder):
        yield replace(without_model(folder), random_weights=True)
    else:
        yield random_like(name, token=token)


def license_named(name: str, *, token: str | None = None) -> str | None:
    """The licence of one model, wherever it is.

    Use it for the model that a student starts from; candidates bring theirs along.

    Args:
        name: a folder, or `"org/name"` on the Hub, as `from_pretrained` takes them.
        token: access token of the Hub; the stored login when None.

    Returns:
        Its identifier, None if the model states none, `NOT_LOOKED_UP` if it cannot be looked up.

    Example:
        >>> license_named("microsoft/resnet-18")  # doctest: +SKIP
        'apache-2.0'
    """
    if os.path.isdir(name):
        card = folder_card(Path(name))
        return NOT_LOOKED_UP if card is None else license_of(card)
    try:
        return stated_license(model_info(HfApi(token=token), name))
    except HubFailure:
        return NOT_LOOKED_UP
