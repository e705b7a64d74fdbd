"""From a student's folder to a page on the Hub: card, clean list of files, push."""

from pathlib import Path

from huggingface_hub import HfApi, get_token

from hf_ctkd.cards.eval_results import write_eval_results
from hf_ctkd.cards.folder import CARD, RECORD, draw_card, read_records
from hf_ctkd.cards.metadata import is_repo_id
from hf_ctkd.cards.publishable import check_folder, publishable_files
from hf_ctkd.cards.signature import CardSignature
from hf_ctkd.errors import InvalidArgumentError, PublishingError
from hf_ctkd.hub import push_folder
from hf_ctkd.hub.problems import HubFailure, explain
from hf_ctkd.records import write_text


def write_card(folder: Path | str, repo_id: str | None = None, *, overwrite_card: bool = False) -> Path:
    """Write README.md, its figures and `.eval_results` into a student's folder, from the records that lie there.

    Use it to publish to a folder, without a network; `publish` calls it before it pushes.

    Args:
        folder: holds `distillation.json`, and `ranking.json` if there was a selection.
        repo_id: repository that the student will be published as; None for a folder.
        overwrite_card: replace a README.md that somebody else wrote, or that was changed by hand.

    Returns:
        The card.

    Raises:
        PublishingError: if there is no `distillation.json`, or a README.md that would be lost.
        InvalidArgumentError: if a record cannot be read, `repo_id` is no `owner/name`, or the folder cannot be written.
    """
    folder = Path(folder)
    if not (folder / RECORD).is_file():
        raise PublishingError(
            f"{folder} has no {RECORD}, from which the card is rendered. "
            "Name a folder that `DistillationTrainer` or `hf-ctkd distill` wrote."
        )
    card = folder / CARD
    if card.exists() and not overwrite_card:
        _check_ours(card)
    record, _ = read_records(folder)
    text = draw_card(folder, repo_id)
    write_eval_results(folder, record)
    return write_text(card, text)


def publish(
    folder: Path | str,
    repo_id: str,
    *,
    private: bool = True,
    token: str | None = None,
    commit_message: str | None = None,
    overwrite_card: bool = False,
) -> str:
    """Publish a student: write its card, check that others can load it, push what belongs to it and nothing else.

    Use it on the folder of a finished student. What is wrong with the folder is said before anything is sent.

    Args:
        folder: model, processor or tokenizer, `distillation.json`, and `ranking.json` if there was a selection.
        repo_id: `"owner/name"` on the Hub, or `"name"` for your own; made if it is not there.
        private: whether the repository is for its owner's eyes only; one that is there already must be so too.
        token: access token; by default the one that you are logged in with.
        commit_message: first line of the commit; by default the student's name.
        overwrite_card: replace a README.md that somebody else wrote, or that was changed by hand.

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
    if (folder / RECORD).is_file():
        record, _ = read_records(folder)
        check_folder(folder, record)
    repo_id = repo_id if "/" in repo_id else f"{_owner(repo_id, token)}/{repo_id}"
    write_card(folder, repo_id, overwrite_card=overwrite_card)
    message = commit_message or f"Publish {repo_id.split('/')[1]}"
    files = publishable_files(folder)
    return push_folder(folder, repo_id, files=files, private=private, token=token, commit_message=message)


def _owner(repo_id: str, token: str | None) -> str:
    # The card names the repository in full, so that its code runs for everybody.
    if token is None and get_token() is None:
        raise PublishingError(
            f"Cannot publish to {repo_id!r} without a token. "
            "Log in with `hf auth login`, set `HF_TOKEN` or pass `token`."
        )
    try:
        return HfApi(token=token).whoami()["name"]
    except HubFailure as error:
        raise PublishingError(f"Cannot publish to {repo_id!r}: {explain(error, repo_id)}") from error


def _check_ours(card: Path) -> None:
    signature = CardSignature.read(card.read_text(encoding="utf-8", errors="replace"))
    if signature is None or not signature.untouched:
        whose = "was not written by hf_ctkd" if signature is None else "was changed by hand"
        raise PublishingError(
            f"{card} {whose}, and a new card would replace it. Move it, or pass `overwrite_card=True`."
        )
