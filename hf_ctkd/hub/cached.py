"""Models by name while the Hub is out of reach: what their copies in the cache of huggingface_hub tell."""

from dataclasses import replace
from pathlib import Path

from huggingface_hub import CacheNotFound, scan_cache_dir, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from hf_ctkd.errors import ProblemCode, TeacherUnavailableError
from hf_ctkd.hub.folders import CARD, folder_candidate
from hf_ctkd.records import NOT_LOOKED_UP, TeacherCandidate


def cached_teacher(model_id: str, revision: str | None = None) -> TeacherCandidate | None:
    """The teacher whose copy lies in the cache, pinned to the commit of that copy; None if there is no copy.

    A copy that lacks files is refused when it is fetched. How often the model was downloaded is not known, and its
    licence only if the card is in the cache too.

    Args:
        model_id: `"org/name"`.
        revision: branch, tag or commit; when None, main as it was last seen, or else the only commit that there is.

    Raises:
        TeacherUnavailableError: if there are several commits and nothing says which.
    """
    folder = _copy(model_id, revision)
    if folder is None:
        return None
    candidate = folder_candidate(folder, weights=False, digest=False)
    return replace(
        candidate,
        model_id=model_id,
        revision=folder.name,
        source="hub",
        parameters=folder_candidate(folder, digest=False).parameters,
        license=candidate.license if (folder / CARD).is_file() else NOT_LOOKED_UP,
    )


def _copy(model_id: str, revision: str | None) -> Path | None:
    try:
        folder = snapshot_download(model_id, revision=revision, allow_patterns="config.json", local_files_only=True)
        return Path(folder)
    except LocalEntryNotFoundError:
        return None if revision is not None else _only_copy(model_id)


def _only_copy(model_id: str) -> Path | None:
    # What was fetched by its commit alone leaves no note of which branch that was.
    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return None
    copies = [
        copy for repo in repos if repo.repo_id == model_id and repo.repo_type == "model" for copy in repo.revisions
    ]
    if len(copies) > 1:
        raise TeacherUnavailableError(
            f"the Hub is out of reach and {len(copies)} commits of it are in the cache. "
            f'Name one, as in "{model_id}@{copies[0].commit_hash}".',
            ProblemCode.NOT_PINNED,
        )
    return copies[0].snapshot_path if copies else None
