"""Teachers in a folder of models that `save_pretrained` wrote."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import metadata_load
from safetensors import SafetensorError, safe_open

from hf_ctkd.errors import InvalidArgumentError, ProblemCode, TeacherUnavailableError
from hf_ctkd.hub.files import loadable_files
from hf_ctkd.hub.metadata import label_names_of, languages_of, license_of, task_of
from hf_ctkd.records import TeacherCandidate

CARD = "README.md"
_INDEX = "model.safetensors.index.json"


def folder_teachers(path: Path | str) -> Iterator[TeacherCandidate]:
    """List the teachers in a folder: the folder itself if it holds a config.json, else each sub-folder that does.

    Use it for models of your own, or where there is no network; for the Hub use `hub_teachers`. A broken one
    (config.json is no JSON, weights cut short, pickles only) is listed with its `problem`.

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
        raise InvalidArgumentError(f"`path` must be a folder of models, but {root} is none. Check the spelling.")
    if (root / "config.json").is_file():
        return iter([folder_candidate(root)])
    folders = sorted(child for child in root.iterdir() if (child / "config.json").is_file())
    if not folders:
        raise InvalidArgumentError(
            f"`path` holds no model: neither {root} nor a folder in it has a config.json. "
            "Save one with `save_pretrained`."
        )
    return map(folder_candidate, folders)


def folder_digest(folder: Path, *, allow_pickle: bool = True) -> str:
    """Digest everything that loading may read: configuration, weights, processor or tokenizer, code.

    Args:
        folder: the model's folder.
        allow_pickle: whether pickle weights count where there are no others.

    Raises:
        TeacherUnavailableError: if a file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        names = loadable_files(_names(folder), allow_pickle=allow_pickle, code=True)
    except TeacherUnavailableError:  # no weights: the rest is still worth a digest
        names = loadable_files(_names(folder), weights=False, code=True)
    try:
        for name in names:
            with open(folder / name, "rb") as stream:
                content = hashlib.sha256()
                while chunk := stream.read(1 << 20):
                    content.update(chunk)
            digest.update(f"{name}\0{content.hexdigest()}\n".encode())
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
        config = _read_json(folder, "config.json")
        names = label_names_of(config)
        revision = folder_digest(folder) if digest else ""
        files = loadable_files(_names(folder), weights=weights)
        parameters = _parameters(folder, files) if weights else None
    except TeacherUnavailableError as error:
        problem = error
    card = folder_card(folder)
    candidate = TeacherCandidate(
        model_id=str(folder),
        revision=revision,
        source="folder",
        task=task_of(config) or _headless_task(folder),
        label_names=names,
        parameters=parameters,
        license=license_of(card),
        languages=languages_of(card),
    )
    return candidate if problem is None else candidate.with_problem(problem)


def _names(folder: Path) -> list[str]:
    return [child.name for child in folder.iterdir() if child.is_file()]


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    try:
        values = json.loads((folder / name).read_text(encoding="utf-8"))
    except OSError as error:
        raise TeacherUnavailableError(
            f"its file {name} cannot be read: {error.strerror}.", ProblemCode.BROKEN
        ) from error
    except ValueError as error:
        raise TeacherUnavailableError(f"its file {name} is not valid JSON: {error}.", ProblemCode.BROKEN) from error
    if not isinstance(values, dict):
        raise TeacherUnavailableError(
            f"its file {name} must hold a JSON object. Save the model again.", ProblemCode.BROKEN
        )
    return values


def _parameters(folder: Path, names: list[str]) -> int:
    """Count parameters as the Hub does: by the headers of the safetensors files, buffers included."""
    weights = [name for name in names if name.endswith(".safetensors")]
    if _INDEX in names:
        shards = _read_json(folder, _INDEX).get("weight_map")
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


def folder_card(folder: Path) -> Mapping[str, Any]:
    """Read the metadata of a folder's card; one that cannot be read says nothing, which is no reason to lose the model.

    Args:
        folder: the model's folder.
    """
    try:
        return metadata_load(folder / CARD) or {}
    except (OSError, ValueError, yaml.YAMLError):
        return {}
