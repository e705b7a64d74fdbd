"""Bounds on a model's files, checked before anything parses them or builds what they ask for.

Whoever uploads a model chooses the size of its files and the numbers in them; a ranking reads models of strangers. What
is refused by these bounds costs that model alone.
"""

import json
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from hf_ctkd.errors import InvalidArgumentError, ProblemCode, TeacherUnavailableError

MOST_BYTES = {"README.md": 1 << 19, "tokenizer": 1 << 27, "other": 1 << 24}
"""Largest text files: a card (0.5 MB, whose metadata take up to 13 s to parse), the files of a tokenizer (128 MB; the
largest published are of 35 MB), and any other (16 MB; the configuration of a classifier of 21,841 classes has 3 MB)."""
MOST_LABELS = 100_000
"""Most classes of a teacher: each of its names becomes an object, and each row is stored with a number for each."""
MOST_LAYERS = 1_000
"""Most layers, blocks or experts that a configuration may ask for under one name; each is built by Python code."""
MOST_TOKENS = 10_000_000
"""Largest vocabulary that a configuration may ask for."""
MOST_PIXELS_A_SIDE = 4_096
"""Longest side of the images that a processor makes: one of this size takes 200 MB as floating-point numbers."""

_TOKENIZER = ("tokenizer", "vocab", "merges", "added_tokens", "special_tokens", "spiece", "spm", "bpe", "sentencepiece")
_WEIGHTS = (".safetensors", ".bin")
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
_MOST_HEADER_BYTES = 100_000_000  # the bound of safetensors itself
_POINTER = b"version https://git-lfs.github.com/spec/"
_COUNTS = (
    (re.compile(r"(num_)?(labels|classes)"), MOST_LABELS, "classes"),
    (re.compile(r"(n|num|.*_num)_(\w+_)?(layers?|blocks|experts|stages)|\w+_layers|depths?"), MOST_LAYERS, "layers"),
    (re.compile(r"(\w+_)?vocab_size|n_vocab"), MOST_TOKENS, "tokens"),
)
_SIDES = re.compile(r"(\w+_)?(size|height|width|divisor)|shortest_edge|longest_edge")


def read_text(folder: Path, name: str) -> str:
    """A text file of a model, if it is not larger than any such file has a reason to be.

    Args:
        folder: the model's folder.
        name: of the file in it.

    Raises:
        TeacherUnavailableError: if it is too large, cannot be read, is no UTF-8, or is a pointer of Git LFS.
    """
    check_sizes(sizes_of(folder, [name]))
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise _unreadable(name, error) from error
    _check_pointer(name, content)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TeacherUnavailableError(
            f"its file {name} is not UTF-8: {error.reason} at byte {error.start}. Save the model again.",
            ProblemCode.BROKEN,
        ) from error


def read_object(folder: Path, name: str) -> dict[str, Any]:
    """A JSON object out of a file of a model.

    Args:
        folder: the model's folder.
        name: of the file in it.

    Raises:
        TeacherUnavailableError: as in `read_text`, or if it holds no JSON object.
    """
    try:
        values = json.loads(read_text(folder, name))
    except ValueError as error:
        raise TeacherUnavailableError(f"its file {name} is not valid JSON: {error}.", ProblemCode.BROKEN) from error
    except RecursionError as error:
        raise TeacherUnavailableError(
            f"its file {name} is nested too deeply. Save the model again.", ProblemCode.BROKEN
        ) from error
    if not isinstance(values, dict):
        raise TeacherUnavailableError(
            f"its file {name} must hold a JSON object. Save the model again.", ProblemCode.BROKEN
        )
    return values


def sizes_of(folder: Path, names: Iterable[str]) -> dict[str, int]:
    """The size of files of a model, in bytes.

    Args:
        folder: the model's folder.
        names: of files in it.

    Raises:
        TeacherUnavailableError: if one cannot be read.
    """
    sizes = {}
    for name in names:
        try:
            sizes[name] = (folder / name).stat().st_size
        except OSError as error:
            raise _unreadable(name, error) from error
    return sizes


def check_sizes(sizes: Mapping[str, int]) -> None:
    """Refuse files that are too large to read: a text file beyond `MOST_BYTES`, weights beyond this machine's memory.

    Args:
        sizes: of files by their names, in bytes; before a download, those that the Hub states.

    Raises:
        TeacherUnavailableError: naming the file.
    """
    for name, size in sizes.items():
        if not name.endswith(_WEIGHTS) and size > _most_bytes(name):
            raise TeacherUnavailableError(
                f"its file {name} has {size:,} bytes, more than the {_most_bytes(name):,} that such a file may have. "
                "Choose another model.",
                ProblemCode.TOO_LARGE,
            )
    check_memory(sum(size for name, size in sizes.items() if name.endswith(_WEIGHTS)))


def check_memory(size: int) -> None:
    """Refuse weights that are larger than the memory of this machine.

    Args:
        size: in bytes.

    Raises:
        TeacherUnavailableError: with both sizes.
    """
    memory = psutil.virtual_memory().total
    if size > memory:
        raise TeacherUnavailableError(
            f"its weights take {size / 1e9:,.1f} GB, more than the {memory / 1e9:,.1f} GB of memory of this machine. "
            "Choose a smaller one.",
            ProblemCode.TOO_LARGE,
        )


def check_files(folder: Path, names: Iterable[str]) -> None:
    """Refuse what would only show, or do harm, once transformers reads it.

    A pointer of Git LFS in place of a file, safetensors that end too early, a configuration that asks for too many
    classes, layers or tokens, and a processor that makes too large images.

    Args:
        folder: the model's folder.
        names: of the files in it that loading reads.

    Raises:
        TeacherUnavailableError: naming the file or the setting.
    """
    names = list(names)
    check_sizes(sizes_of(folder, names))
    for name in names:
        try:
            with open(folder / name, "rb") as stream:
                _check_pointer(name, stream.read(len(_POINTER)))
        except OSError as error:
            raise _unreadable(name, error) from error
        if name.endswith(".safetensors"):
            _check_whole(folder, name)
    if "config.json" in names:
        check_config(read_object(folder, "config.json"))
    for name in _PROCESSORS:
        if name in names:
            _check_pixels(name, read_object(folder, name))


def check_config(config: Mapping[str, Any]) -> None:
    """Refuse a configuration that asks for more classes, layers or tokens than any model has a reason to.

    Args:
        config: what config.json holds, those of parts of the model included.

    Raises:
        TeacherUnavailableError: naming the setting.
    """
    for key, value in _settings(config):
        if key in ("id2label", "label2id") and isinstance(value, dict):
            _check_count(key, len(value), MOST_LABELS, "classes")
        for pattern, most, unit in _COUNTS:
            if pattern.fullmatch(key):
                for number in _numbers(value):
                    _check_count(key, number, most, unit)


def _check_count(key: str, number: float, most: int, unit: str) -> None:
    if number > most:
        raise TeacherUnavailableError(
            f"`{key}` of its configuration asks for {number:,} {unit}, more than {most:,}. Choose another model.",
            ProblemCode.TOO_LARGE,
        )


def _check_pixels(name: str, processor: Mapping[str, Any]) -> None:
    for key, value in _settings(processor):
        # Beside the shortest edge the longest is no more than a bound, and some models count pixels by it.
        is_bound = key == "longest_edge" or (isinstance(value, dict) and "shortest_edge" in value)
        if _SIDES.fullmatch(key) and not is_bound:
            for side in _numbers(value):
                if side > MOST_PIXELS_A_SIDE:
                    raise TeacherUnavailableError(
                        f"`{key}` in its file {name} makes images of {side:,} pixels a side, more than "
                        f"{MOST_PIXELS_A_SIDE:,}. Choose another model.",
                        ProblemCode.TOO_LARGE,
                    )


def _settings(values: object) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at any depth; without recursion, which the depth of a file could exhaust."""
    waiting = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield from value.items()
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _numbers(value: object) -> Iterator[int | float]:
    """The numbers of a setting: itself, or those in its list or mapping."""
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
    yield from (number for number in values if isinstance(number, int | float))


def _most_bytes(name: str) -> int:
    kind = "tokenizer" if name.startswith(_TOKENIZER) else name
    return MOST_BYTES.get(kind, MOST_BYTES["other"])


def _check_pointer(name: str, beginning: bytes) -> None:
    if beginning.startswith(_POINTER):
        raise TeacherUnavailableError(
            f"its file {name} is a pointer of Git LFS and not the file itself. Run `git lfs pull` in its folder.",
            ProblemCode.LFS_POINTER,
        )


def _check_whole(folder: Path, name: str) -> None:
    """Compare the size of a safetensors file with the end of its last tensor, which its header states."""
    size = (folder / name).stat().st_size
    try:
        with open(folder / name, "rb") as stream:
            (header_size,) = struct.unpack("<Q", stream.read(8))
            if header_size > _MOST_HEADER_BYTES:
                return  # no safetensors at all: reading them says why
            header = json.loads(stream.read(header_size)) if 8 + header_size <= size else {}
        ends = [tensor["data_offsets"][1] for key, tensor in header.items() if key != "__metadata__"]
        expected = 8 + header_size + max(ends, default=0)
    except struct.error:
        expected = 8
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return  # likewise
    if size < expected:
        raise TeacherUnavailableError(
            f"its weights {name} are cut short: {size:,} bytes of {expected:,}. Copy or download them again.",
            ProblemCode.TRUNCATED,
        )


def _unreadable(name: str, error: OSError) -> TeacherUnavailableError:
    return TeacherUnavailableError(f"its file {name} cannot be read: {error.strerror}.", ProblemCode.BROKEN)


def check_max_parameters(value: object) -> None:
    """Refuse a largest number of parameters that is none.

    Args:
        value: None for no limit.

    Raises:
        InvalidArgumentError: if it is no positive number.
    """
    if value is not None and (not isinstance(value, int | float) or not value > 0):
        raise InvalidArgumentError(f"`max_parameters` must be a positive number, got {value!r}. Try 300e6.")
