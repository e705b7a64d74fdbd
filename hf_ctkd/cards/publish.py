"""Publishes a student's folder on the Hub: check, card, push."""

from pathlib import Path

from huggingface_hub import HfApi

from hf_ctkd.cards.folder import RECORD, check_folder, publishable_files, read_records, write_card
from hf_ctkd.cards.metadata import is_repo_id
from hf_ctkd.errors import InvalidArgumentError, PublishingError
from hf_ctkd.hub import push_folder
from hf_ctkd.hub.problems import HubFailure, explain
from hf_ctkd.hub.push import require_token


def publish(
    folder: Path | str,
    repo_id: str,
    *,
    private: bool = True,
    token: str | None = None,
    commit_message: str | None = None,
    overwrite_card: bool = False,
) -> str:
    """Publish a student: load it as others will, write its card, push its files and no others.

    Use it on the folder of a finished student. All problems of the folder are reported before anything is sent.

    Args:
        folder: model, processor or tokenizer, `distillation.json`, and `ranking.json` if there was a selection.
        repo_id: `"owner/name"` on the Hub, or `"name"` for a repository of yours; created if missing.
        private: whether only its owner can see the repository; an existing one must have the same visibility.
        token: access token; by default the one that you are logged in with.
        commit_message: first line of the commit; by default the student's name.
        overwrite_card: replace a README.md that hf_ctkd did not write, or that was changed by hand.

    Returns:
        The address that `push_folder` gives.

    Raises:
        PublishingError: if the folder is not complete, a README.md would be lost, or the Hub refuses.
        InvalidArgumentError: if `repo_id` is no name of a repository, a record cannot be read, or the
            folder cannot be written.

    Example:
        >>> publish("flowers-student", "me/flowers-student")  # doctest: +SKIP
        'https://huggingface.co/me/flowers-student/commit/...'
    """
    folder = Path(folder)
    if not is_repo_id(repo_id if "/" in repo_id else f"owner/{repo_id}"):
        raise InvalidArgumentError(f"`repo_id` must be 'owner/name' or 'name', got {repo_id!r}.")
    if not folder.is_dir():
        raise PublishingError(f"{folder} is no folder. Name the one in which the student was saved.")
    record, ranking = read_records(folder) if (folder / RECORD).is_file() else (None, None)
    if record is not None:
        check_folder(folder, record)
    require_token(repo_id, token)  # before the card names a repository that nothing can be sent to
    repo_id = repo_id if "/" in repo_id else f"{_owner(repo_id, token)}/{repo_id}"
    write_card(folder, repo_id, record=record, ranking=ranking, overwrite_card=overwrite_card)
    message = commit_message or f"Publish {repo_id.split('/')[1]}"
    files = publishable_files(folder)
    return push_folder(folder, repo_id, files=files, private=private, token=token, commit_message=message)


def _owner(repo_id: str, token: str | None) -> str:
    # The card names the repository in full, so that its code runs for everybody.
    try:
        return HfApi(token=token).whoami()["name"]
    except HubFailure as error:
        raise PublishingError(f"Cannot publish to {repo_id!r}: {explain(error, repo_id)}") from error
