"""Send files of a folder to a repository on the Hub: those that are named, and no others."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token

from hf_ctkd.errors import PublishingError
from hf_ctkd.hub.files import push_refusal
from hf_ctkd.hub.problems import HubFailure, explain

# An upload that fails reaches us as a RuntimeError, with the Hub's answer as its cause.
_Failure: tuple[type[Exception], ...] = (*HubFailure, RuntimeError)

_PRIVATE: Any = ["private"]


def push_folder(
    folder: Path | str,
    repo_id: str,
    *,
    files: Iterable[str],
    private: bool = True,
    token: str | None = None,
    commit_message: str = "Upload model",
    repo_type: Literal["model", "dataset"] = "model",
    replaces: str | None = None,
) -> str:
    """Upload the named files of a folder as one commit, and make the repository if there is none.

    Nothing shows on the Hub until all of it is there: an upload that breaks off leaves the repository as it was. What
    the repository held before and is not named stays. To publish a student with its card, use `publish`.

    Args:
        folder: where the files lie.
        repo_id: `"org/name"`, or `"name"` for your own.
        files: paths relative to `folder`; pickles, training state, checkpoints and caches are refused, not dropped.
        private: whether only you see the repository. One that is there already and is not what this asks for is refused
            and stays as it is: its earlier files and commits would be shown or hidden with it.
        token: access token; by default the one of `hf auth login` or `HF_TOKEN`.
        commit_message: first line of the commit.
        repo_type: what kind of repository it is.
        replaces: folder of the repository of which nothing stays but what is named.

    Returns:
        The address of the commit.

    Raises:
        PublishingError: if a file is missing or must not be published (then nothing was sent), or the Hub refuses.

    Example:
        >>> push_folder("student", "me/flowers", files=["README.md", "config.json"], private=True)  # doctest: +SKIP
    """
    operations = _operations(Path(folder), files)
    require_token(repo_id, token)
    api = HfApi(token=token)
    try:
        created = api.create_repo(repo_id, private=private, exist_ok=True, repo_type=repo_type)
        _check_visibility(api, created.repo_id, private, repo_type)
        stale = _stale(api, created.repo_id, repo_type, replaces, {operation.path_in_repo for operation in operations})
        commit = api.create_commit(
            created.repo_id, [*operations, *stale], commit_message=commit_message, repo_type=repo_type
        )
    except _Failure as error:
        raise PublishingError(f"Cannot publish to {repo_id!r}: {explain(error, repo_id)}") from error
    return commit.commit_url


def require_token(repo_id: str, token: str | None) -> None:
    """Refuse to publish without an access token.

    Args:
        repo_id: of the repository, for the message.
        token: that was passed; None to look for the stored one.

    Raises:
        PublishingError: if there is none.
    """
    if token is None and get_token() is None:
        raise PublishingError(
            f"Cannot publish to {repo_id!r} without a token. "
            "Log in with `hf auth login`, set `HF_TOKEN` or pass `token`."
        )


def _stale(
    api: HfApi, repo_id: str, repo_type: str, folder: str | None, named: set[str]
) -> list[CommitOperationDelete]:
    if folder is None:
        return []
    paths = api.list_repo_files(repo_id, repo_type=repo_type)
    return [
        CommitOperationDelete(path_in_repo=path)
        for path in paths
        if path.startswith(f"{folder}/") and path not in named
    ]


def _check_visibility(api: HfApi, repo_id: str, private: bool, repo_type: str) -> None:
    is_private = api.repo_info(repo_id, repo_type=repo_type, expand=_PRIVATE).private
    if private and is_private is False:
        raise PublishingError(
            f"{repo_id!r} is there already and public, but `private` asks for a private one. "
            "Choose another name, or pass `private=False`."
        )
    if not private and is_private:
        page = f"{api.endpoint}/{'datasets/' if repo_type == 'dataset' else ''}{repo_id}"
        raise PublishingError(
            f"{repo_id!r} is private on the Hub, but a public one is asked for. "
            f"Make it public at {page}/settings first, or choose another name."
        )


def _operations(folder: Path, files: Iterable[str]) -> list[CommitOperationAdd]:
    names = sorted(set(files))
    if not names:
        raise PublishingError("`files` must name what to publish, got nothing.")
    for name in names:
        refusal = push_refusal(name)
        if refusal is not None:
            raise PublishingError(f"{name!r} must not be published: {refusal}. Leave it out of `files`.")
        if not (folder / name).is_file():
            raise PublishingError(f"{name!r} is not in {folder}. Save the model first, or leave it out of `files`.")
    return [CommitOperationAdd(path_in_repo=name, path_or_fileobj=folder / name) for name in names]
