"""Send files of a folder to a repository on the Hub: those that are named, and no others."""

from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, get_token

from hf_ctkd.errors import PublishingError
from hf_ctkd.hub.files import push_refusal
from hf_ctkd.hub.problems import HubFailure, explain

# An upload that fails reaches us as a RuntimeError, with the Hub's answer as its cause.
_Failure: tuple[type[Exception], ...] = (*HubFailure, RuntimeError)


def push_folder(
    folder: Path | str,
    repo_id: str,
    *,
    files: Iterable[str],
    private: bool = True,
    token: str | None = None,
    commit_message: str = "Upload model",
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

    Returns:
        The address of the commit.

    Raises:
        PublishingError: if a file is missing or must not be published (then nothing was sent), or the Hub refuses.

    Example:
        >>> push_folder("student", "me/flowers", files=["README.md", "config.json"], private=True)  # doctest: +SKIP
    """
    operations = _operations(Path(folder), files)
    if token is None and get_token() is None:
        raise PublishingError(
            f"Cannot publish to {repo_id!r} without a token. "
            "Log in with `hf auth login`, set `HF_TOKEN` or pass `token`."
        )
    api = HfApi(token=token)
    try:
        created = api.create_repo(repo_id, private=private, exist_ok=True)
        _check_visibility(api, created.repo_id, private)
        commit = api.create_commit(created.repo_id, operations, commit_message=commit_message)
    except _Failure as error:
        raise PublishingError(f"Cannot publish to {repo_id!r}: {explain(error, repo_id)}") from error
    return commit.commit_url


def _check_visibility(api: HfApi, repo_id: str, private: bool) -> None:
    is_private = api.model_info(repo_id, expand=["private"]).private
    if private and is_private is False:
        raise PublishingError(
            f"{repo_id!r} is there already and public, but `private` asks for a private one. "
            "Choose another name, or pass `private=False`."
        )
    if not private and is_private:
        raise PublishingError(
            f"{repo_id!r} is private on the Hub, but a public one is asked for. "
            f"Make it public at {api.endpoint}/{repo_id}/settings first, or choose another name."
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
