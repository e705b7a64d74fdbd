"""A teacher over a whole data set: in batches, on every process, each row once."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import torch
import transformers
from accelerate import Accelerator
from accelerate.utils import find_executable_batch_size
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from hf_ctkd.errors import TeacherUnavailableError
from hf_ctkd.teachers.cache import OutputCache
from hf_ctkd.teachers.rows import TargetRows
from hf_ctkd.teachers.teacher import Teacher
from hf_ctkd.types import ModelOutputs

_ROWS_A_SHARD = 4096


def compute_outputs(
    teacher: Teacher,
    rows: TargetRows,
    *,
    accelerator: Accelerator | None = None,
    batch_size: int = 64,
    cache_dir: Path | str | None = None,
    progress: bool = True,
) -> ModelOutputs:
    """Logits and features of every row, in row order, on the CPU and in float32, the same on every process.

    Rows are shared out over the processes of `accelerator` and gathered. A batch that does not fit the memory is
    halved until it does. With a cache, only rows not seen before are computed, and an interruption loses one shard at most.

    Args:
        teacher: the teacher, already on its device.
        rows: raw rows.
        accelerator: the processes to share the work; a new one when None.
        batch_size: rows a forward pass on each process, to begin with.
        cache_dir: folder of caches, one sub-folder a teacher; None to keep nothing.
        progress: show a bar on the main process.

    Raises:
        DatasetError: a row that cannot be read.
        TeacherUnavailableError: outputs that are not finite, or no batch size that fits the memory.
        StaleCacheError: the cache was made by something else.
    """
    accelerator = accelerator or Accelerator()
    cache = None if cache_dir is None else open_cache(cache_dir, teacher)
    index, stored = ({}, {}) if cache is None else cache.load()
    missing = _missing_rows(rows, index)
    bar = (
        tqdm(total=len(missing), desc=teacher.candidate.name, unit="row", leave=False) if progress and missing else None
    )
    fresh: list[ModelOutputs] = []
    for start in range(0, len(missing), _ROWS_A_SHARD):
        shard = missing[start : start + _ROWS_A_SHARD]
        outputs = _run(teacher, rows, shard, accelerator, batch_size)
        fresh.append(outputs)
        if cache is not None and accelerator.is_main_process:
            cache.add([rows.digests[row] for row in shard], outputs)
        if bar is not None:
            bar.update(len(shard))
    if bar is not None:
        bar.close()
    accelerator.wait_for_everyone()
    known = {name: [tensor] for name, tensor in stored.items()}
    for outputs in fresh:
        known.setdefault("features", []).append(outputs.features)
        if outputs.logits is not None:
            known.setdefault("logits", []).append(outputs.logits)
    index = {**index, **{rows.digests[row]: len(index) + number for number, row in enumerate(missing)}}
    order = torch.tensor([index[digest] for digest in rows.digests])
    logits = torch.cat(known["logits"])[order] if "logits" in known else None
    return ModelOutputs(features=torch.cat(known["features"])[order], logits=logits)


def open_cache(cache_dir: Path | str, teacher: Teacher) -> OutputCache:
    """The cache of one teacher: its folder is named by all that shapes its outputs.

    Raises:
        StaleCacheError: if the folder was made by something else.
    """
    candidate = teacher.candidate
    key = {
        "model_id": candidate.model_id,
        "revision": candidate.revision,
        "random_weights": str(candidate.random_weights),
        "processor": type(teacher.preprocessor.processing_class).__name__,
        "max_length": str(teacher.preprocessor.max_length),
        "dtype": str(teacher.model.dtype),
        "transformers": transformers.__version__,
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    return OutputCache(Path(cache_dir) / f"{candidate.name.replace('/', '--').replace(' ', '-')}-{digest}", key)


def _missing_rows(rows: TargetRows, index: dict[str, int]) -> list[int]:
    """First row of each digest not known yet; texts by length, so that batches carry little padding."""
    first = {}
    for row, digest in enumerate(rows.digests):
        if digest not in index:
            first.setdefault(digest, row)
    missing = list(first.values())
    if rows.modality == "text":
        lengths = [len(text) for text in rows.inputs(missing)]
        missing = [row for _, row in sorted(zip(lengths, missing, strict=True))]
    return missing


def _run(
    teacher: Teacher, rows: TargetRows, wanted: list[int], accelerator: Accelerator, batch_size: int
) -> ModelOutputs:
    @find_executable_batch_size(starting_batch_size=batch_size)
    def attempt(batch_size: int) -> ModelOutputs:
        loader = accelerator.prepare(DataLoader(_Numbers(wanted), batch_size=batch_size))
        parts = list(_batches(teacher, rows, loader, accelerator))
        logits = None if parts[0].logits is None else torch.cat([p.logits for p in parts if p.logits is not None])
        return ModelOutputs(torch.cat([part.features for part in parts]), logits)

    try:
        outputs = attempt()
    except RuntimeError as error:
        if "No executable batch size" not in str(error):
            raise
        raise TeacherUnavailableError(f"a single row does not fit the memory of {accelerator.device}") from error
    for name, tensor in (("features", outputs.features), ("logits", outputs.logits)):
        if tensor is not None and not torch.isfinite(tensor).all():
            row = wanted[int((~torch.isfinite(tensor)).any(1).nonzero()[0])]
            raise TeacherUnavailableError(f"its {name} are not finite, first for row {row}")
    return outputs


def _batches(
    teacher: Teacher, rows: TargetRows, loader: DataLoader, accelerator: Accelerator
) -> Iterator[ModelOutputs]:
    for numbers in loader:
        outputs = teacher.outputs(teacher.collate(rows.inputs(numbers.tolist())))
        gathered: list[Tensor | None] = [
            None if tensor is None else accelerator.gather_for_metrics(tensor.float().contiguous()).cpu()
            for tensor in (outputs.features, outputs.logits)
        ]
        if gathered[0] is not None:
            yield ModelOutputs(gathered[0], gathered[1])


class _Numbers(torch.utils.data.Dataset):
    """Row numbers as a data set: the rows themselves are read where they are preprocessed."""

    def __init__(self, numbers: list[int]) -> None:
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> int:
        return self.numbers[place]
