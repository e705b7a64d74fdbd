"""A teacher's outputs over a whole data set: each row computed once, in memory or on disk."""

import hashlib
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import datasets
import torch
import transformers
from accelerate import Accelerator
from tqdm.auto import tqdm
from transformers import BaseImageProcessor, PreTrainedTokenizerBase

from hf_ctkd.data import Preprocessor, TargetRows
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.teachers.cache import STORED_DTYPES, OutputCache, StoredOutputs, finite_rows_of, from_named, named_tensors
from hf_ctkd.teachers.extraction import FeatureExtractor
from hf_ctkd.teachers.layers import MOST_LAYERS
from hf_ctkd.teachers.processes import on_main
from hf_ctkd.teachers.teacher import Teacher
from hf_ctkd.teachers.zero_shot import ZeroShotClassifier
from hf_ctkd.types import ModelOutputs

_ROWS_A_SHARD = 512


def compute_outputs(
    teacher: Teacher,
    rows: TargetRows,
    *,
    accelerator: Accelerator | None = None,
    batch_size: int = 64,
    workers: int = 0,
    cache_dir: Path | str | None = None,
    max_cache_bytes: int | None = None,
    progress: bool = True,
    layers: bool = False,
    max_layers: int = MOST_LAYERS,
    teacher_output_dtype: torch.dtype = torch.float32,
    autocast_dtype: torch.dtype | None = None,
    timeout: float | int | None = None,
    max_not_finite: float = 0.0,
) -> ModelOutputs | StoredOutputs:
    """A teacher's logits and features of every row, in row order, the same on every process.

    Use it for rows whose inputs do not change; a teacher of augmented rows has to run at every step. With `cache_dir`
    the outputs stay on disk (`StoredOutputs`), rows stored before are not computed again, an interruption loses one
    shard (512 rows) at most, and memory does not grow with the number of rows; without, they are returned in memory
    (`ModelOutputs`). Read both through `select` and `chunks`.

    Args:
        teacher: the teacher, already on its device.
        rows: raw rows.
        accelerator: the processes to share the work; a new one when None.
        batch_size: rows a forward pass on each process, to begin with, at least 1; it is halved while a batch does not
            fit the memory.
        workers: processes that read and preprocess rows while the teacher runs; 0 for none.
        cache_dir: folder of caches, one sub-folder a teacher, which all processes can read; None to store nothing.
        max_cache_bytes: largest number of bytes to store; None for half of the free disk.
        progress: show a bar on the main process.
        layers: also pool layers of all depths; they are stored apart, being wide.
        max_layers: largest number of these layers, at least 1; 1 is the last layer alone.
        teacher_output_dtype: of stored numbers, `torch.float32` or `torch.float16` (half the disk); they are read as
            float32.
        autocast_dtype: run the teacher under autocast in this dtype; None in the dtype of its weights.
        timeout: seconds after which no further batch is run; None for no limit.
        max_not_finite: largest share of the rows whose outputs may hold NaN or infinity, in [0, 1). All outputs of such
            a row are NaN, see `finite_rows_of`; with 0, the first of them is an error.

    Raises:
        InvalidArgumentError: an argument is out of range, the outputs exceed `max_cache_bytes`, or the cache cannot be
            written.
        DatasetError: a row that cannot be read.
        TeacherUnavailableError: the model cannot be run, gives malformed or not finite outputs, does not fit the
            memory, or takes longer than `timeout`.
        StaleCacheError: the cache was made by something else.

    Example:
        >>> teacher = Teacher.load(candidate, "image")  # doctest: +SKIP
        >>> outputs = compute_outputs(teacher, TargetRows.of(flowers["train"]), cache_dir="outputs")  # doctest: +SKIP
        >>> outputs.select(torch.arange(100)).features.shape  # doctest: +SKIP
        torch.Size([100, 768])
    """
    for name, number, least in (("batch_size", batch_size, 1), ("max_layers", max_layers, 1), ("workers", workers, 0)):
        if number < least:
            raise InvalidArgumentError(f"`{name}` must be at least {least}, got {number}.")
    if teacher_output_dtype not in STORED_DTYPES:
        raise InvalidArgumentError(
            f"`teacher_output_dtype` must be torch.float32 or torch.float16, got {teacher_output_dtype}. Choose one."
        )
    if not 0 <= max_not_finite < 1:
        raise InvalidArgumentError(f"`max_not_finite` must lie in [0, 1), got {max_not_finite}. Give a share.")
    accelerator = accelerator or Accelerator()
    extractor = FeatureExtractor(
        teacher,
        rows,
        accelerator,
        batch_size=batch_size,
        workers=workers,
        layers=layers,
        max_layers=max_layers,
        dtype=teacher_output_dtype,
        autocast_dtype=autocast_dtype,
        timeout=timeout,
        max_not_finite=max_not_finite,
    )
    show = progress and accelerator.is_main_process
    if cache_dir is None:
        return _checked(_in_memory(extractor, show), extractor)

    def open_() -> OutputCache:
        return open_cache(
            cache_dir,
            teacher,
            layers=max_layers if layers else 0,
            dtype=teacher_output_dtype,
            autocast_dtype=autocast_dtype,
        )

    return _checked(_on_disk(extractor, on_main(accelerator, open_), max_cache_bytes, show), extractor)


Outputs = TypeVar("Outputs", ModelOutputs, StoredOutputs)


def _checked(outputs: Outputs, extractor: FeatureExtractor) -> Outputs:
    """Outputs of all rows, some of them stored before, when more of them were allowed to be not finite."""
    finite = finite_rows_of(outputs)
    if not finite.all():
        extractor.check_share(int((~finite).sum()), int(finite.int().argmin()))
    return outputs


def open_cache(
    cache_dir: Path | str,
    teacher: Teacher,
    *,
    layers: int = 0,
    dtype: torch.dtype = torch.float32,
    autocast_dtype: torch.dtype | None = None,
) -> OutputCache:
    """The cache of one teacher: its folder is named by all that shapes its outputs.

    Args:
        cache_dir: folder of caches.
        teacher: the teacher.
        layers: largest number of pooled layers; 0 for none.
        dtype: of the stored numbers.
        autocast_dtype: of autocast; None without.

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
        **_preprocessing_key(teacher.preprocessor),
        "dtype": str(teacher.model.dtype),
        "autocast": str(autocast_dtype),
        "layers": str(layers),
        "transformers": transformers.__version__,
        **_zero_shot_key(teacher),
        **_quantization_key(teacher),
    }
    digest = _digest({**key, "stored dtype": str(dtype)})
    return OutputCache(
        Path(cache_dir) / f"{candidate.name.replace('/', '--').replace(' ', '-')}-{digest}", key, dtype=dtype
    )


def _zero_shot_key(teacher: Teacher) -> dict[str, str]:
    """The texts of the classes, where the outputs depend on them."""
    if not isinstance(teacher.model, ZeroShotClassifier):
        return {}
    return {"texts": hashlib.sha256("\n".join(teacher.model.config.texts).encode()).hexdigest()}


def _quantization_key(teacher: Teacher) -> dict[str, str]:
    """How its weights were quantised, here or by their author."""
    config = teacher.model.config.to_dict().get("quantization_config")
    return {} if config is None else {"quantization": str(config)}


def _preprocessing_key(preprocessor: Preprocessor) -> dict[str, str]:
    """What preprocessing does to a row, settings that were changed after loading included."""
    processing_class = preprocessor.processing_class
    settings = ""
    if isinstance(processing_class, BaseImageProcessor):
        settings = processing_class.to_json_string()
    elif isinstance(processing_class, PreTrainedTokenizerBase):
        settings = f"{processing_class.padding_side} {processing_class.truncation_side}"
    return {
        "modality": preprocessor.modality,
        "processor": type(processing_class).__name__,
        "processor settings": hashlib.sha256(settings.encode()).hexdigest()[:16],
        "max_length": str(preprocessor.max_length),
        "channels": str(preprocessor.channels),
    }


def _digest(key: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


def _on_disk(extractor: FeatureExtractor, cache: OutputCache, limit: int | None, show: bool) -> StoredOutputs:
    accelerator, rows = extractor.accelerator, extractor.rows
    missing = on_main(accelerator, lambda: cache.missing(rows.digests))
    reserved = False
    with _bar(extractor, len(missing), show) as bar:
        for shard_rows, outputs in extractor.shards(_by_length(rows, missing), _ROWS_A_SHARD, bar):
            if not reserved:  # the first shard tells the widths
                on_main(accelerator, partial(cache.reserve, len(missing), outputs, limit=limit))
                reserved = True
            on_main(accelerator, partial(cache.add, [rows.digests[row] for row in shard_rows], outputs))
            del outputs
    return on_main(accelerator, lambda: cache.read(rows.digests))


def _in_memory(extractor: FeatureExtractor, show: bool) -> ModelOutputs:
    rows = extractor.rows
    first_row = {digest: row for row, digest in reversed(list(enumerate(rows.digests)))}
    parts, position = [], dict[str, int]()
    with _bar(extractor, len(first_row), show) as bar:
        for shard_rows, outputs in extractor.shards(_by_length(rows, sorted(first_row.values())), _ROWS_A_SHARD, bar):
            position |= {rows.digests[row]: len(position) + number for number, row in enumerate(shard_rows)}
            parts.append(named_tensors(outputs))
    order = torch.tensor([position[digest] for digest in rows.digests])
    return from_named({name: torch.cat([part[name] for part in parts])[order].float() for name in parts[0]})


def _bar(extractor: FeatureExtractor, count: int, show: bool) -> tqdm:
    name, hidden = extractor.teacher.candidate.name, not show or count == 0 or datasets.are_progress_bars_disabled()
    return tqdm(total=count, desc=name, unit="row", leave=False, disable=hidden)


def _by_length(rows: TargetRows, row_numbers: list[int]) -> list[int]:
    """Texts from long to short, so that batches carry little padding and the first batch needs the most memory."""
    if rows.modality != "text":
        return row_numbers
    lengths = rows.text_lengths
    return sorted(row_numbers, key=lambda row: lengths[row], reverse=True)
