"""Files of a run: written whole or not at all, with our errors where the disk refuses; and large tensors on disk."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME
from transformers.utils.logging import get_logger

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import DistillationLoss
from hf_ctkd.teachers.cache import named_tensors
from hf_ctkd.types import RowOutputs

logger = get_logger(__name__)

LOSS_FILE = "distillation_loss.safetensors"
_CHECKPOINT = re.compile(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)")
_SET_ASIDE = ".old"
MEMORY_LIMIT = 2**30
"""Bytes of a tensor from which on it is kept in a file instead of in memory: 1 GiB."""
_PROBE_BYTES = 1 << 20
"""Written to tell whether a disk is full: more than what a file system still takes of a file that did not fit."""


@contextmanager
def replaced_together(folder: Path) -> Iterator[Path]:
    """A temporary folder whose files replace those of `folder` once all of them are written.

    Args:
        folder: made if it is not there.

    Raises:
        InvalidArgumentError: if it cannot be written or the disk is full.
    """
    temporary: Path | None = None
    try:
        with _disk_errors(f"the student to {folder}", folder):
            folder.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=folder, prefix=".saving-"))
            yield temporary
            for path in sorted(path for path in temporary.rglob("*") if path.is_file()):
                target = folder / path.relative_to(temporary)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def removed_if_unfinished(folder: Path, *, main_process: bool) -> Iterator[None]:
    """Around what writes a checkpoint: an unfinished one is removed, so that no run resumes from it.

    Where the process is killed, nothing removes it, but it has no trainer state, which is written last: see
    `newest_checkpoint`.

    Args:
        folder: of the checkpoint.
        main_process: whether this process is the one that removes it.

    Raises:
        InvalidArgumentError: if it cannot be written or the disk is full.
    """
    finished = False
    try:
        with _disk_errors(f"the checkpoint {folder}", folder):
            if main_process:  # of an earlier checkpoint of the same step, whose other files are replaced one by one
                (folder / TRAINER_STATE_NAME).unlink(missing_ok=True)
            yield
        finished = True
    finally:
        if main_process and not finished:
            (folder / TRAINER_STATE_NAME).unlink(missing_ok=True)  # first: the rest may be cut short
            shutil.rmtree(folder, ignore_errors=True)


def newest_checkpoint(folder: Path | str) -> Path | None:
    """The last complete checkpoint in a folder; None without any. A line in the log names those that are skipped.

    Args:
        folder: of the run.
    """
    folder = Path(folder)
    steps = {_step(path): path for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else {}
    for _, path in sorted(((step, path) for step, path in steps.items() if step is not None), reverse=True):
        problem = checkpoint_problem(path)
        if problem is None:
            return path
        logger.warning(f"{path} is skipped: {problem}. It was not written to its end.")
    return None


def resumed_from(checkpoint: str | bool | None, folder: Path | str) -> str | None:
    """The checkpoint that `Trainer.train` is to resume from: for True, the last complete one of the run.

    Args:
        checkpoint: as given to `Trainer.train`.
        folder: of the run.

    Raises:
        InvalidArgumentError: for True, if there is no complete checkpoint.
    """
    if not isinstance(checkpoint, bool):
        return checkpoint
    newest = newest_checkpoint(folder) if checkpoint else None
    if checkpoint and newest is None:
        raise InvalidArgumentError(
            f"`resume_from_checkpoint` finds no complete checkpoint in {folder}. Leave it out to start anew."
        )
    return None if newest is None else str(newest)


def checkpoint_problem(checkpoint: Path) -> str | None:
    """What a checkpoint lacks, None if it is complete.

    `Trainer` writes the trainer state last, so that it says that the optimizer's state is whole; weights are checked as
    well, since a checkpoint may be damaged afterwards.

    Args:
        checkpoint: its folder.
    """
    try:
        state = json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return f"its {TRAINER_STATE_NAME} is missing or cut off"
    if not isinstance(state, dict) or not isinstance(state.get("global_step"), int):
        return f"its {TRAINER_STATE_NAME} has no `global_step`"
    weights = sorted(path for path in checkpoint.glob("*.safetensors") if path.name != LOSS_FILE)
    if not weights:
        return "it has no safetensors weights"
    missing = _weights_of_index(checkpoint) - {path.name for path in weights}
    if missing:
        return f"it lacks {min(missing)}"
    for path in [*weights, *checkpoint.glob(LOSS_FILE)]:
        try:
            with safe_open(path, "pt"):
                pass
        except (OSError, SafetensorError):
            return f"its {path.name} is cut off"
    return None


def set_checkpoints_aside(folder: Path | str) -> list[Path]:
    """Rename the checkpoints of an earlier run, so that a run that starts anew is never continued from them.

    Those set aside before under the same name are removed.

    Args:
        folder: of the run.

    Returns:
        Their new paths.
    """
    folder, renamed = Path(folder), []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir() and _step(path) is not None:
            aside = path.with_name(path.name + _SET_ASIDE)
            shutil.rmtree(aside, ignore_errors=True)
            renamed.append(path.rename(aside))
    return renamed


def _step(path: Path) -> int | None:
    match = _CHECKPOINT.fullmatch(path.name)
    return None if match is None else int(match[1])


def _weights_of_index(checkpoint: Path) -> set[str]:
    """Files that the index of sharded weights names; empty without an index."""
    try:
        index = json.loads((checkpoint / SAFE_WEIGHTS_INDEX_NAME).read_text(encoding="utf-8"))
        return set(index["weight_map"].values())
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {SAFE_WEIGHTS_INDEX_NAME}  # damaged: it stands for the files that nothing names


@contextmanager
def _disk_errors(description: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        # torch.save has no exception class for a full disk: its RuntimeError looks like any other.
        reason = _disk_error(folder) if isinstance(error, RuntimeError) else error
        if reason is None:
            raise
        raise InvalidArgumentError(
            f"Cannot write {description}: {reason}. The files that were there are whole; choose a folder that can be "
            "written and has room."
        ) from error


def _disk_error(folder: Path) -> OSError | None:
    """Why the disk takes no more, while what was written last is still there; None if it does."""
    try:
        with tempfile.TemporaryFile(dir=folder if folder.is_dir() else folder.parent) as stream:
            stream.write(bytes(_PROBE_BYTES))
            stream.flush()
            os.fsync(stream.fileno())  # where blocks are allocated late, the error comes here
    except OSError as error:
        return error
    return None


def off_memory(tensor: Tensor, folder: Path, *, limit: int = MEMORY_LIMIT) -> Tensor:
    """The same tensor, memory-mapped from a temporary file if it is larger than a limit.

    The file has no name, so that the system removes it with the last process that reads it.

    Args:
        tensor: on the CPU.
        folder: of the file; made if it is not there.
        limit: in bytes.
    """
    if tensor.nbytes <= limit:
        return tensor
    folder.mkdir(parents=True, exist_ok=True)
    values = tensor.numpy()
    with tempfile.TemporaryFile(dir=folder) as file:
        mapped = np.memmap(file, values.dtype, mode="w+", shape=values.shape)
    mapped[:] = values
    return torch.from_numpy(mapped)


def in_memory(outputs: RowOutputs, *, limit: int = MEMORY_LIMIT) -> RowOutputs:
    """The same outputs, read from disk into memory if they take no more than a limit.

    For outputs that are read at every step: those on disk open a file for every 512 rows of the data set each time.

    Args:
        outputs: of a teacher over all rows.
        limit: in bytes.
    """
    row_bytes = sum(tensor.nbytes for tensor in named_tensors(outputs.select(torch.arange(1))).values())
    return outputs.select(torch.arange(len(outputs))) if row_bytes * len(outputs) <= limit else outputs


def part_of(state_dict: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries of a state dict under a prefix, by their names without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state_dict.items() if name.startswith(prefix)}


def load_loss_state(checkpoint: Path, loss: DistillationLoss | None, signature: Mapping[str, str]) -> dict[str, Tensor]:
    """Weights of the loss in a checkpoint.

    Args:
        checkpoint: its folder.
        loss: in training, after `setup`; None without one.
        signature: names of the loss and of its teachers' weights.

    Raises:
        InvalidArgumentError: if the checkpoint was made with another loss or other teachers.
    """
    path = checkpoint / LOSS_FILE
    state, saved_signature = None, dict(signature)
    if path.is_file():
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            saved_signature |= file.metadata() or {}
    if saved_signature != signature or _shapes(state) != _shapes(None if loss is None else loss.state_dict()):
        present = "no loss" if loss is None else f"{type(loss).__name__} with the teachers given now"
        raise InvalidArgumentError(
            f"`resume_from_checkpoint` {checkpoint} was made with another loss or other teachers than {present}. "
            "Give those that it was made with, or train anew."
        )
    return state or {}


def _shapes(state: Mapping[str, Tensor] | None) -> dict[str, torch.Size] | None:
    return None if state is None else {name: tensor.shape for name, tensor in state.items()}
