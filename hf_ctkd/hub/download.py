"""Bring one teacher here, at the commit that it is pinned to, and nothing of it that could run code unless trusted."""

import glob
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile, RepoFolder

from hf_ctkd.errors import InvalidArgumentError, ProblemCode, TeacherUnavailableError
from hf_ctkd.hub.files import CODE, POOLING, PREPROCESSING, loadable_files
from hf_ctkd.hub.folders import file_names, folder_digest
from hf_ctkd.hub.limits import check_files, check_sizes, read_object, sizes_of
from hf_ctkd.hub.problems import HubFailure, unavailable
from hf_ctkd.hub.timm import check_packages
from hf_ctkd.hub.waiting import ask_again_for_list, bounded_waits
from hf_ctkd.records import TeacherCandidate, last_name


def fetch_teacher(
    candidate: TeacherCandidate,
    *,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    max_bytes: int | None = None,
    cache_dir: Path | str | None = None,
    token: str | None = None,
) -> Path:
    """Bring one teacher into a local folder, ready for `from_pretrained`.

    From the Hub it takes the configuration, the safetensors weights and the processor or tokenizer of the pinned
    commit, neither code nor pickles unless told to; the size is checked before the first byte of it, and the files are
    checked by the bounds of `hf_ctkd.hub.limits` afterwards. Where the Hub cannot be reached, a copy that is whole in
    the cache serves. A folder is returned as it is, if it has not changed
    since it was listed. Load the result with `use_safetensors=True` all the same: other programs share the cache.

    Args:
        candidate: which one; its `problem` is not looked at, so that a caller may insist, say with `allow_pickle=True`.
        allow_pickle: take pickle weights where there are no others; they run code when loaded.
        trust_remote_code: take the code that the repository brings along too, of the same commit; loading runs it.
        max_bytes: refuse what is larger; None for no bound.
        cache_dir: where downloads are kept; by default the cache of huggingface_hub.
        token: access token; by default the one of `hf auth login` or `HF_TOKEN`.

    Raises:
        TeacherUnavailableError: if it is gated, private, missing, broken, changed, too large or has only pickles.
        InvalidArgumentError: if `max_bytes` is below one.

    Example:
        >>> candidate = next(hub_teachers("microsoft/resnet-18"))  # doctest: +SKIP
        >>> AutoModel.from_pretrained(fetch_teacher(candidate), use_safetensors=True)  # doctest: +SKIP
    """
    if max_bytes is not None and max_bytes < 1:
        raise InvalidArgumentError(f"`max_bytes` must be at least 1, got {max_bytes}.")
    try:
        if not candidate.revision:
            candidate.check_usable()
            raise TeacherUnavailableError("it is not pinned to a revision. List it again.", ProblemCode.NOT_PINNED)
        if candidate.source == "folder":
            return _check_folder(candidate, allow_pickle, max_bytes)
        file_choice = _FileChoice(allow_pickle, weights=not candidate.random_weights, code=trust_remote_code)
        with bounded_waits():
            return _download(candidate, file_choice, max_bytes, cache_dir, token)
    except TeacherUnavailableError as error:
        raise TeacherUnavailableError(f"Teacher {candidate.name!r} cannot be used: {error}", error.code) from error


def fetch_file(candidate: TeacherCandidate, name: str, *, token: str | None = None) -> Path | None:
    """One small text file of a model, at the commit that it is pinned to; None where it has none of that name.

    Args:
        candidate: which model.
        name: of the file.
        token: access token of the Hub; the stored login when None.

    Raises:
        TeacherUnavailableError: if the Hub does not give it, or it is larger than such a file has a reason to be.
    """
    if candidate.source == "folder":
        path = Path(candidate.model_id) / name
        return path if path.is_file() else None
    try:
        with bounded_waits():
            path = Path(hf_hub_download(candidate.model_id, name, revision=candidate.revision, token=token))
    except RemoteEntryNotFoundError:
        return None
    except HubFailure as error:
        raise unavailable(error, candidate.model_id) from error
    check_sizes(sizes_of(path.parent, [name]))
    return path


def download_bytes(
    candidate: TeacherCandidate,
    *,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    cache_dir: Path | str | None = None,
    token: str | None = None,
) -> int:
    """The number of bytes that `fetch_teacher` would download: of its files that are not in the cache; 0 for a folder.

    Args:
        candidate: which one.
        allow_pickle: as in `fetch_teacher`.
        trust_remote_code: as in `fetch_teacher`.
        cache_dir: as in `fetch_teacher`.
        token: as in `fetch_teacher`.

    Raises:
        TeacherUnavailableError: if the Hub does not tell.
    """
    if candidate.source == "folder":
        return 0
    file_choice = _FileChoice(allow_pickle, weights=not candidate.random_weights, code=trust_remote_code)
    model_id, revision = candidate.model_id, candidate.revision
    try:
        with bounded_waits():
            sizes = _sizes(HfApi(token=token), model_id, revision)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise unavailable(error, model_id) from error
    except HubFailure as error:
        _cached(candidate, file_choice, cache_dir, error)
        return 0
    return sum(
        sizes[name]
        for name in file_choice.among(sizes)
        if not isinstance(try_to_load_from_cache(model_id, name, cache_dir=cache_dir, revision=revision), str)
    )


@dataclass(frozen=True)
class _FileChoice:
    allow_pickle: bool
    weights: bool
    code: bool

    def among(self, names: Iterable[str]) -> list[str]:
        return loadable_files(names, allow_pickle=self.allow_pickle, weights=self.weights, code=self.code)

    @property
    def patterns(self) -> list[str]:
        """Of names that may be among them, where it is not known which there are."""
        weights = ["model.safetensors*", "model-*.safetensors", *(["pytorch_model*.bin*"] if self.allow_pickle else [])]
        return [
            "config.json",
            *PREPROCESSING,
            *(weights if self.weights else []),
            *([CODE] if self.code else []),
        ]


def _check_folder(candidate: TeacherCandidate, allow_pickle: bool, max_bytes: int | None) -> Path:
    folder = Path(candidate.model_id)
    if not folder.is_dir():
        raise TeacherUnavailableError(
            f"its folder is gone: there is no {last_name(candidate.model_id)}. Run this where the folder was listed, "
            "put it back, or list it again.",
            ProblemCode.NOT_FOUND,
        )
    names = file_names(folder)
    chosen = loadable_files(names, allow_pickle=allow_pickle, weights=not candidate.random_weights)
    _check_size(sum(sizes_of(folder, chosen).values()), max_bytes)
    check_files(folder, chosen)
    check_packages(read_object(folder, "config.json"))
    if folder_digest(folder) != candidate.revision:
        raise TeacherUnavailableError(
            "its files have changed since it was listed. List the folder again.", ProblemCode.CHANGED
        )
    return folder


def _download(
    candidate: TeacherCandidate,
    file_choice: _FileChoice,
    max_bytes: int | None,
    cache_dir: Path | str | None,
    token: str | None,
) -> Path:
    model_id, revision = candidate.model_id, candidate.revision
    try:
        sizes = _sizes(HfApi(token=token), model_id, revision)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise unavailable(error, model_id) from error
    except HubFailure as error:
        return _cached(candidate, file_choice, cache_dir, error)
    chosen = file_choice.among(sizes)
    _check_size(sum(sizes[name] for name in chosen), max_bytes)
    check_sizes({name: sizes[name] for name in chosen})
    try:
        config = hf_hub_download(model_id, "config.json", revision=revision, cache_dir=cache_dir, token=token)
        check_packages(read_object(Path(config).parent, "config.json"))
        folder = snapshot_download(
            model_id,
            revision=revision,
            allow_patterns=[glob.escape(name) for name in chosen],
            cache_dir=cache_dir,
            token=token,
        )
    except HubFailure as error:
        raise unavailable(error, model_id) from error
    check_files(Path(folder), chosen)
    return Path(folder)


def _sizes(api: HfApi, model_id: str, revision: str) -> dict[str, int]:
    """Sizes of the files at the top, and of those that say how sentence-transformers pools tokens."""
    entries = ask_again_for_list(lambda: api.list_repo_tree(model_id, revision=revision))
    for folder in [entry.path for entry in entries if isinstance(entry, RepoFolder)]:
        if fnmatchcase(f"{folder}/config.json", POOLING):
            entries += ask_again_for_list(partial(api.list_repo_tree, model_id, folder, revision=revision))
    return {entry.path: entry.size for entry in entries if isinstance(entry, RepoFile)}


def _cached(
    candidate: TeacherCandidate, file_choice: _FileChoice, cache_dir: Path | str | None, unreachable: BaseException
) -> Path:
    """Take the copy in the cache, if it is whole: the commit is pinned, so it cannot be out of date."""
    try:
        folder = snapshot_download(
            candidate.model_id,
            revision=candidate.revision,
            allow_patterns=file_choice.patterns,
            ignore_patterns="*/*",  # in a pattern a star stands for slashes too
            cache_dir=cache_dir,
            local_files_only=True,
        )
    except LocalEntryNotFoundError:
        raise unavailable(unreachable, candidate.model_id) from unreachable
    check_files(Path(folder), file_choice.among(file_names(Path(folder))))
    return Path(folder)


def _check_size(size: int, max_bytes: int | None) -> None:
    if max_bytes is not None and size > max_bytes:
        raise TeacherUnavailableError(
            f"it weighs {size:,} bytes, more than `max_bytes` {max_bytes:,}. Choose a smaller one or raise the bound.",
            ProblemCode.TOO_LARGE,
        )
