"""Teachers by name, wherever a user may write one: a folder, an id on the Hub, or a control of either."""

from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import HfApi

from hf_ctkd.hub.control import RANDOM, random_like
from hf_ctkd.hub.folders import folder_card, folder_teachers
from hf_ctkd.hub.metadata import license_of
from hf_ctkd.hub.problems import HubFailure
from hf_ctkd.hub.search import hub_teachers, model_info, stated_license
from hf_ctkd.records import NOT_LOOKED_UP, TeacherCandidate


def candidates_named(name: str | Path, *, token: str | None = None) -> Iterator[TeacherCandidate]:
    """The teachers that one name stands for; those on the Hub are looked up as they are asked for.

    Use it for what a user typed. To search the Hub use `hub_teachers`.

    Args:
        name: a folder of one model or of many, `"org/name"` or `"org/name@revision"` on the Hub, or either of one model
            after `"random:"`, for its `random_like`. A string that is no folder is an id; a path is always a folder.
        token: access token of the Hub; the stored login when None.

    Raises:
        InvalidArgumentError: if a folder is missing or holds no model, or it can be no id; for one after `"random:"`
            while iterating.

    Example:
        >>> [teacher.name for teacher in candidates_named("zoo")]  # doctest: +SKIP
        ['zoo/digits', 'zoo/letters']
    """
    if isinstance(name, str) and name.startswith(RANDOM):
        return (random_like(model, token=token) for model in [name.removeprefix(RANDOM)])
    if isinstance(name, Path) or Path(name).is_dir():
        return folder_teachers(name)
    return hub_teachers(name, token=token)


def license_named(name: str, *, token: str | None = None) -> str | None:
    """The licence of one model, wherever it is.

    Use it for the model that a student starts from; candidates bring theirs along.

    Args:
        name: a folder, or `"org/name"` on the Hub, as `from_pretrained` takes them.
        token: access token of the Hub; the stored login when None.

    Returns:
        Its identifier, None if the model states none, `NOT_LOOKED_UP` if the Hub does not say.

    Example:
        >>> license_named("microsoft/resnet-18")  # doctest: +SKIP
        'apache-2.0'
    """
    if Path(name).is_dir():
        return license_of(folder_card(Path(name)))
    try:
        return stated_license(model_info(HfApi(token=token), name))
    except HubFailure:
        return NOT_LOOKED_UP
