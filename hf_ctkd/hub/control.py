"""A control for any teacher: the same model, but with random weights."""

from dataclasses import replace
from pathlib import Path

from hf_ctkd.errors import InvalidArgumentError, ProblemCode
from hf_ctkd.hub.folders import folder_candidate
from hf_ctkd.hub.search import hub_teachers
from hf_ctkd.records import TeacherCandidate

RANDOM = "random:"
"""Before an id or a folder it stands for `random_like`, where teachers are given by name."""


def random_like(name: str | Path, *, token: str | None = None) -> TeacherCandidate:
    """A teacher with the configuration and the preprocessing of another model, but with random weights.

    Use it as a control: what a student gains from it, it does not gain from anything that the teacher has learnt. It is
    also a teacher in its own right for feature losses such as `InvertedProjectionLoss`. Not for losses that read what a
    teacher predicts. Weights are never downloaded, and need not be there; they are drawn with `LoadOptions(seed=...)`.
    Where teachers are given by name, `"random:org/model"` says the same.

    Args:
        name: the model, `"org/name"` or `"org/name@revision"`, or its folder.
        token: access token of the Hub; the stored login when None.

    Raises:
        InvalidArgumentError: if it is a folder of no model, or no name.

    Reference:
        After the randomly initialised teachers of Auty, Miles, Kolbeinsson and Mikolajczyk, "Learning to project for
        cross-task knowledge distillation", arXiv:2403.14494.

    Example:
        >>> random_like("microsoft/resnet-18@main").name  # doctest: +SKIP
        'random weights like microsoft/resnet-18'
    """
    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise InvalidArgumentError(f"`name` must be the folder of one model, but {folder} has no config.json.")
        return replace(folder_candidate(folder, weights=False), random_weights=True)
    (candidate,) = hub_teachers(str(name), token=token)
    if candidate.problem_code in (ProblemCode.NO_WEIGHTS, ProblemCode.PICKLE_ONLY):
        candidate = replace(candidate, problem=None, problem_code=None)
    return replace(candidate, random_weights=True)
