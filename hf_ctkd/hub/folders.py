"""Teachers in a folder of models that `save_pretrained` wrote."""

import hashlib
import logging
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import metadata_load
from safetensors import SafetensorError, safe_open

from hf_ctkd.errors import InvalidArgumentError, ProblemCode, TeacherUnavailableError
from hf_ctkd.hub.files import POOLING, loadable_files
from hf_ctkd.hub.limits import check_files, check_sizes, read_object, read_text, sizes_of
from hf_ctkd.hub.metadata import is_untrained, label_names_of, languages_of, license_of, task_of
from hf_ctkd.records import NOT_LOOKED_UP, TeacherCandidate

logger = logging.getLogger(__name__)

CARD = "README.md"
_INDEX = "model.safetensors.index.json"


def folder_teachers(path: Path | str) -> Iterator[TeacherCandidate]:
    """List the teachers in a folder: the folder itself if it holds a config.json, else each sub-folder that does.

    Use it for models of your own, or where there is no network; for the Hub use `hub_teachers`. A broken one
    (config.json is no JSON, weights cut short, pickles only, a file beyond `hf_ctkd.hub.limits`) is listed with its
    `problem`.

    Args:
        path: a model's folder, or a folder of such folders; relative ones stay relative.

    Raises:
        InvalidArgumentError: at once, if the folder is missing or holds no model.

    Example:
        >>> for teacher in folder_teachers("zoo"):  # doctest: +SKIP
        ...     print(teacher.name, teacher.parameters, teacher.label_names)
    """
    root = Path(path)
    if not root.is_dir():
        raise InvalidArgumentError(
            f"{root} is no folder. Check the spelling; it must hold models that `save_pretrained` wrote."
        )
    folders = model_folders(root)
    if not folders:
        raise InvalidArgumentError(
            f"{root} holds no model: neither it nor a folder in it has a config.json. Save one with `save_pretrained`."
        )
    return map(folder_candidate, folders)


def model_folders(root: Path) -> list[Path]:
    """A folder itself if it holds a model, else the folders in it that do, in order of name.

    Args:
        root: a folder.

    Raises:
        InvalidArgumentError: if it cannot be listed.
    """
    if is_model(root):
        return [root]
    try:
        return sorted(child for child in root.iterdir() if is_model(child))
    except OSError as error:
        raise InvalidArgumentError(
            f"`path` {root} cannot be listed: {error.strerror}. Allow it to be read, or choose another folder."
        ) from error


def without_model(folder: Path) -> TeacherCandidate:
    """A folder that was named as a teacher and is none, with this problem.

    Args:
        folder: that holds no model.
    """
    problem = TeacherUnavailableError(
        "neither the folder nor a folder in it has a config.json. Save a model there with `save_pretrained`.",
        ProblemCode.NO_CONFIG,
    )
    return TeacherCandidate(_printable(folder), "", "folder").with_problem(problem)


def folder_digest(folder: Path, *, allow_pickle: bool = True) -> str:
    """Digest everything that loading may read: configuration, weights, processor or tokenizer, code.

    Args:
        folder: the model's folder.
        allow_pickle: whether pickle weights count where there are no others.

    Raises:
        TeacherUnavailableError: if a file cannot be read, or is too large to.
    """
    digest, names = hashlib.sha256(), _digested(folder, allow_pickle)
    check_sizes(sizes_of(folder, names))
    try:
        for name in names:
            with open(folder / name, "rb") as stream:
                content = hashlib.sha256()
                while chunk := stream.read(1 << 20):
                    content.update(chunk)
            digest.update(os.fsencode(name) + f"\0{content.hexdigest()}\n".encode())
    except OSError as error:
        raise TeacherUnavailableError(
            f"its file {name} cannot be read: {error.strerror}.", ProblemCode.BROKEN
        ) from error
    return digest.hexdigest()


def folder_candidate(folder: Path, *, weights: bool = True, digest: bool = True) -> TeacherCandidate:
    """The teacher that a folder holds, with its `problem` if it is broken.

    Args:
        folder: with a config.json.
        weights: whether its weights are wanted; where not, missing or broken ones are no problem.
        digest: whether to pin it to a digest of its files; not needed where its commit is known.
    """
    revision, parameters = "", None
    problem: TeacherUnavailableError | None = None
    config: Mapping[str, Any] = {}
    names = None
    try:
        _check_name(folder)
        config = read_object(folder, "config.json")
        check_files(folder, loadable_files(file_names(folder), weights=False, code=True))
        names = label_names_of(config)
        revision = folder_digest(folder) if digest else ""
        files = loadable_files(file_names(folder), weights=weights)
        check_files(folder, files)
        parameters = _parameters(folder, files) if weights else None
    except TeacherUnavailableError as error:
        problem = error
    card = folder_card(folder)
    candidate = TeacherCandidate(
        model_id=_printable(folder),
        revision=revision,
        source="folder",
        task=task_of(config) or _headless_task(folder),
        label_names=names,
        parameters=parameters,
        license=NOT_LOOKED_UP if card is None else license_of(card),
        languages=() if card is None else languages_of(card),
        untrained=card is not None and is_untrained(card.get("tags")),
    )
    return candidate if problem is None else candidate.with_problem(problem)


def is_model(folder: Path) -> bool:
    """Whether a folder holds a configuration.

    Args:
        folder: that may be there or not.
    """
    return os.path.isfile(folder / "config.json")  # of a folder that may not be read, pathlib raises


def _printable(folder: Path) -> str:
    return os.fsencode(folder).decode("utf-8", "backslashreplace")


def _check_name(folder: Path) -> None:
    try:
        str(folder).encode("utf-8")
    except UnicodeEncodeError as error:
        raise TeacherUnavailableError(
            "the name of its folder is not UTF-8, so no record can name it. Rename the folder.", ProblemCode.BROKEN
        ) from error


def _digested(folder: Path, allow_pickle: bool = True) -> list[str]:
    try:
        return loadable_files(file_names(folder), allow_pickle=allow_pickle, code=True)
    except TeacherUnavailableError:  # no weights: the rest is still worth a digest
        return loadable_files(file_names(folder), weights=False, code=True)


def file_names(folder: Path) -> list[str]:
    """The names of the files in a folder, and of `POOLING` in a sub-folder.

    Args:
        folder: the model's folder.

    Raises:
        TeacherUnavailableError: if the folder cannot be listed.
    """
    try:
        names = [child.name for child in folder.iterdir() if os.path.isfile(child)]
        return names + [path.relative_to(folder).as_posix() for path in folder.glob(POOLING)]
    except OSError as error:
        raise TeacherUnavailableError(f"its folder cannot be listed: {error.strerror}.", ProblemCode.BROKEN) from error


def _parameters(folder: Path, names: list[str]) -> int:
    """Count parameters as the Hub does: by the headers of the safetensors files, buffers included."""
    weights = [name for name in names if name.endswith(".safetensors")]
    if _INDEX in names:
        shards = read_object(folder, _INDEX).get("weight_map")
        if not isinstance(shards, dict):
            raise TeacherUnavailableError(
                f"its file {_INDEX} must hold a `weight_map`. Save the model again.", ProblemCode.BROKEN
            )
        missing = sorted({str(shard) for shard in shards.values()} - set(weights))
        if missing:
            raise TeacherUnavailableError(
                f"its weights are incomplete: {missing[0]} is missing. Copy the model again.", ProblemCode.BROKEN
            )
    return sum(_parameters_in(folder / name) for name in weights)


def _parameters_in(path: Path) -> int:
    try:
        with safe_open(path, framework="numpy") as tensors:
            return sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise TeacherUnavailableError(
            f"its weights {path.name} are broken: {error}. Copy or save them again.", ProblemCode.BROKEN
        ) from error


def _headless_task(folder: Path) -> str | None:
    if (folder / "preprocessor_config.json").is_file():
        return "image-feature-extraction"
    if any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt")):
        return "feature-extraction"
    return None


def folder_card(folder: Path) -> Mapping[str, Any] | None:
    """Read the metadata of a folder's card: empty without a card, None for one that cannot be read.

    A bad card is no reason to lose the model, so it is left out with one line in the log.

    Args:
        folder: the model's folder.
    """
    if not os.path.isfile(folder / CARD):
        return {}
    try:
        read_text(folder, CARD)  # refuses what is too large to parse
        return metadata_load(folder / CARD) or {}
    except TeacherUnavailableError as error:
        reason = str(error)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = f"its metadata are malformed ({type(error).__name__})"
    logger.warning("The card of %s is left out: %s", folder.name, reason)
    return None
