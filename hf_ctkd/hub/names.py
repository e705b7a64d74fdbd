"""Teachers by name, wherever a user may write one: a folder, an id on the Hub, or a control of either."""

from collections.abc import Iterator
from pathlib import Path

from hf_ctkd.hub.control import RANDOM, random_like
from hf_ctkd.hub.folders import folder_teachers
from hf_ctkd.hub.search import hub_teachers
from hf_ctkd.records import TeacherCandidate


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
