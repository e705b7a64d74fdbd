"""A teacher over a whole data set: in batches, on every process, each row once."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
import transformers
from accelerate import Accelerator
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from PIL import Image as PILImage
from torch import Tensor
from tqdm.auto import tqdm

from hf_ctkd.data.rows import TargetRows
from hf_ctkd.errors import InvalidArgumentError, ProblemCode, TeacherUnavailableError
from hf_ctkd.teachers.cache import OutputCache, from_named, named_tensors
from hf_ctkd.teachers.layers import MOST_LAYERS
from hf_ctkd.teachers.processes import on_all, on_main
from hf_ctkd.teachers.teacher import Teacher
from hf_ctkd.types import ModelOutputs

_ROWS_A_SHARD = 512
# What a model raises on inputs that it cannot take: images of unequal size, a missing input, a wrong configuration.
_FAILED = (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError, ImportError, OSError)


def compute_outputs(
    teacher: Teacher,
    rows: TargetRows,
    *,
    accelerator: Accelerator | None = None,
    batch_size: int = 64,
    cache_dir: Path | str | None = None,
    progress: bool = True,
    layers: bool = False,
) -> ModelOutputs:
    """Logits and features of every row, in row order, on the CPU and in float32, the same on every process.

    Rows are shared out over the processes of `accelerator` and gathered. A batch that does not fit the memory is
    halved until it does. With a cache, only rows not seen before are computed, and an interruption loses one shard at
    most; only the main process reads and writes it.

    Args:
        teacher: the teacher, already on its device.
        rows: raw rows.
        accelerator: the processes to share the work; a new one when None.
        batch_size: rows a forward pass on each process, to begin with; at least 1.
        cache_dir: folder of caches, one sub-folder a teacher; None to keep nothing.
        progress: show a bar on the main process.
        layers: also pool layers of all depths; they are cached apart, being wide.

    Raises:
        InvalidArgumentError: `batch_size` is below one, or the cache cannot be written.
        DatasetError: a row that cannot be read.
        TeacherUnavailableError: the model cannot be run, gives NaN or infinity, or does not fit the memory.
        StaleCacheError: the cache was made by something else.
    """
    if batch_size < 1:
        raise InvalidArgumentError(f"`batch_size` must be at least 1, got {batch_size}.")
    accelerator = accelerator or Accelerator()
    cache: OutputCache | None = None
    index: dict[str, int] = {}
    stored: dict[str, Tensor] = {}

    def open_and_find_missing() -> list[int]:
        nonlocal cache, index, stored
        cache = None if cache_dir is None else open_cache(cache_dir, teacher, layers=layers)
        index, stored = ({}, {}) if cache is None else cache.load()
        return _missing_rows(rows, index)

    missing = on_main(accelerator, open_and_find_missing)
    parts = {name: [tensor] for name, tensor in stored.items()}
    count = len(stored["features"]) if stored else 0
    shares = _Shares(teacher, rows, accelerator, batch_size, layers)
    show = progress and accelerator.is_main_process and bool(missing)
    with tqdm(total=len(missing), desc=teacher.candidate.name, unit="row", leave=False, disable=not show) as bar:
        for start in range(0, len(missing), _ROWS_A_SHARD):
            wanted, outputs = shares.run(missing[start : start + _ROWS_A_SHARD], bar)
            digests = [rows.digests[row] for row in wanted]
            on_main(accelerator, partial(_keep, cache, digests, outputs))
            index.update({digest: count + number for number, digest in enumerate(digests)})
            count += len(digests)
            for name, tensor in named_tensors(outputs).items():
                parts.setdefault(name, []).append(tensor)
    return on_main(accelerator, lambda: _in_order(rows, index, parts))


def _keep(cache: OutputCache | None, digests: Sequence[str], outputs: ModelOutputs) -> None:
    if cache is not None:
        cache.add(digests, outputs)


def open_cache(cache_dir: Path | str, teacher: Teacher, *, layers: bool = False) -> OutputCache:
    """The cache of one teacher: its folder is named by all that shapes its outputs.

    Raises:
        StaleCacheError: if the folder was made by something else.
        InvalidArgumentError: if the folder cannot be written.
    """
    candidate = teacher.candidate
    key = {
        # A folder's revision is a digest of its files, so a copy or a move changes nothing.
        "model": candidate.model_id if candidate.source == "hub" else "folder",
        "revision": candidate.revision,
        "random_weights": str(teacher.seed) if candidate.random_weights else "no",
        "modality": teacher.preprocessor.modality,
        "processor": type(teacher.preprocessor.processing_class).__name__,
        "max_length": str(teacher.preprocessor.max_length),
        "dtype": str(teacher.model.dtype),
        "transformers": transformers.__version__,
    }
    if layers:
        key["layers"] = str(MOST_LAYERS)
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    return OutputCache(Path(cache_dir) / f"{candidate.name.replace('/', '--').replace(' ', '-')}-{digest}", key)


def _missing_rows(rows: TargetRows, index: Mapping[str, int]) -> list[int]:
    """First row of each digest not known yet; texts by length, so that batches carry little padding."""
    first: dict[str, int] = {}
    for row, digest in enumerate(rows.digests):
        if digest not in index:
            first.setdefault(digest, row)
    missing = list(first.values())
    if rows.modality == "text":
        lengths = [len(text) for text in rows.inputs(missing) if isinstance(text, str)]
        missing = [row for _, row in sorted(zip(lengths, missing, strict=True))]
    return missing


def _in_order(rows: TargetRows, index: Mapping[str, int], parts: Mapping[str, list[Tensor]]) -> ModelOutputs:
    order = torch.tensor([index[digest] for digest in rows.digests])
    return from_named({name: torch.cat(tensors)[order] for name, tensors in parts.items()})


class _Shares:
    """Runs rows on all processes, each taking its share, with a batch size that shrinks to what the memory holds."""

    def __init__(
        self, teacher: Teacher, rows: TargetRows, accelerator: Accelerator, batch_size: int, layers: bool
    ) -> None:
        self.teacher = teacher
        self.rows = rows
        self.accelerator = accelerator
        self.batch_size = batch_size
        self.layers = layers

    def run(self, wanted: list[int], bar: tqdm) -> tuple[list[int], ModelOutputs]:
        """The outputs of the wanted rows, and these rows in the order of the outputs."""
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        # Every n-th row, so that long texts fall on all processes alike.
        shares = on_all(self.accelerator, lambda: self._run(wanted[rank::processes], bar))
        bar.update(len(wanted) - len(wanted[rank::processes]))
        parts = [part for share in shares for part in share]
        named = [named_tensors(part) for part in parts]
        joined = {name: torch.cat([part[name] for part in named]) for name in named[0]}
        order = [row for process in range(processes) for row in wanted[process::processes]]
        return order, from_named(joined)

    def _run(self, mine: list[int], bar: tqdm) -> list[ModelOutputs]:
        parts = []
        start = 0
        while start < len(mine):
            numbers = mine[start : start + self.batch_size]
            outputs = self._try(self.rows.inputs(numbers))
            if outputs is None:
                self._halve(len(numbers))
                continue
            self._require_finite(outputs, numbers)
            parts.append(outputs)
            start += len(numbers)
            bar.update(len(numbers))
        return parts

    def _try(self, inputs: Sequence[PILImage.Image] | Sequence[str]) -> ModelOutputs | None:
        """The outputs of one batch, None where it does not fit the memory."""
        try:
            outputs = self.teacher.outputs(self.teacher.collate(inputs), layers=self.layers).to("cpu")
        except _FAILED as error:
            if isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error):
                return None
            reason = " ".join(str(error).split())[:300]
            raise TeacherUnavailableError(f"cannot be run: {reason}", ProblemCode.INCOMPATIBLE) from error
        return from_named({name: tensor.float() for name, tensor in named_tensors(outputs).items()})

    def _halve(self, rows: int) -> None:
        if rows == 1:
            raise TeacherUnavailableError(
                f"a single row does not fit the memory of {self.accelerator.device}", ProblemCode.TOO_LARGE
            )
        self.batch_size = rows // 2
        clear_device_cache(garbage_collection=True)

    def _require_finite(self, outputs: ModelOutputs, numbers: list[int]) -> None:
        for name, tensor in named_tensors(outputs).items():
            if not torch.isfinite(tensor).all():
                row = numbers[int((~torch.isfinite(tensor)).any(1).nonzero()[0])]
                raise TeacherUnavailableError(
                    f"its {name} are not finite, first for row {int(self.rows.origin[row])}", ProblemCode.BROKEN
                )
