"""Teacher outputs on disk: memory-mapped shards of rows, each row stored under the digest of its input."""

import errno
import hashlib
import json
import logging
import os
import shutil
import uuid
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xxhash
from jaxtyping import Bool, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hf_ctkd.errors import DiskFullError, InvalidArgumentError, ProblemCode, StaleCacheError, TeacherUnavailableError
from hf_ctkd.records import read_json, write_json
from hf_ctkd.teachers.output_checks import not_finite, shape_fault
from hf_ctkd.types import ModelOutputs, RowOutputs

logger = logging.getLogger(__name__)

FORMAT = "2"
"""Version of the files: a folder of another version is never read."""
DISK_SHARE = 0.5
"""Share of the free disk that the outputs of one call may fill unless `max_cache_bytes` says otherwise."""

STORED_DTYPES = (torch.float32, torch.float16)

_META = "teacher.json"
_KIND = "teacher-outputs"
_DIGEST_BYTES = 16


@dataclass(frozen=True, eq=False)
class StoredOutputs(RowOutputs):
    """One teacher's outputs over the rows of a data set, on disk and read in parts.

    `compute_outputs` returns it where there is a cache folder. `select` and `chunks` open the shards that hold the
    rows, copy these rows, and close the shards again, so memory grows with the rows selected and not with the data
    set. It can be pickled. To have everything in memory, select all rows.

    Args:
        paths: the shards, which were verified when the outputs were opened.
        shards: `[rows]`, index of each row's shard in `paths`.
        positions: `[rows]`, index of each row in its shard.
        widths: width of each stored tensor by its name.
        finite: `[rows]`, which rows have finite outputs; those of the others are NaN.

    Example:
        >>> outputs = compute_outputs(teacher, rows, cache_dir="outputs")  # doctest: +SKIP
        >>> for chunk, part in outputs.chunks(1024):  # doctest: +SKIP
        ...     targets[chunk] = probe.posterior(part.features)
    """

    paths: tuple[Path, ...]
    shards: Int[Tensor, " rows"]
    positions: Int[Tensor, " rows"]
    widths: Mapping[str, int]
    finite: Bool[Tensor, " rows"]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.shards)

    def select(self, rows: Tensor) -> ModelOutputs:
        """The outputs of some rows, by index or mask, on the CPU and in float32.

        Args:
            rows: indices, in any order and as often as needed, or a mask over all rows.

        Raises:
            StaleCacheError: if a shard was deleted since the outputs were opened.
        """
        rows = rows.cpu()
        shards, positions = self.shards[rows], self.positions[rows]
        tensors = {name: torch.empty(len(shards), width) for name, width in self.widths.items()}
        for shard in shards.unique().tolist():
            in_shard = (shards == shard).nonzero().flatten()
            packed = self._read(self.paths[shard], positions[in_shard])
            parts = packed.split(list(self.widths.values()), dim=1)
            for tensor, part in zip(tensors.values(), parts, strict=True):
                tensor[in_shard] = part.float()
        return from_named(tensors)

    @staticmethod
    def _read(path: Path, positions: Tensor) -> Tensor:
        # Shards stay open for one selection alone: pages of an open map count as this process's memory.
        try:
            with safe_open(path, "pt") as shard:
                # `get_tensor` maps the file: only the pages of the indexed rows are read.
                return shard.get_tensor("rows")[positions]
        except (OSError, SafetensorError) as error:
            raise StaleCacheError(
                f"The shard {path} was deleted or changed while its outputs were in use: {error}. "
                "Run again: its rows are then computed anew."
            ) from error


class OutputCache:
    """The outputs of one teacher in a folder, as shards of rows that are only ever added.

    A row is stored under the digest of its raw input, never under its place in a batch or a data set, so shuffles,
    subsets and other splits find their rows again. A folder belongs to one `key`; a folder with another key is refused.

    A shard is a safetensors file named by the checksum of its content, with the key in its header. Both are compared
    before its rows are used: a shard that was cut, changed, copied from another folder or holds anything but finite
    `[rows, width]` is deleted with a warning, and its rows are computed again. Only a row whose outputs are all NaN is
    stored as it is: the teacher has no finite outputs for it, and would not have them the next time either.

    All outputs of a row lie side by side in one tensor, so a selection of scattered rows opens and indexes one tensor a
    shard. (Safetensors rather than Arrow through `datasets`: rows of a tensor, in float16 too, are indexed straight
    from the map and need no decoding from lists, and the header has room for the key.)

    Args:
        folder: for this teacher alone; made if absent.
        key: all that shapes the outputs besides the row, as text.
        dtype: of the stored numbers, `torch.float32` or `torch.float16`.

    Raises:
        StaleCacheError: if the folder was written under another key.
        InvalidArgumentError: if the folder cannot be written, or the dtype is another one.
    """

    def __init__(self, folder: Path | str, key: Mapping[str, str], *, dtype: torch.dtype = torch.float32) -> None:
        if dtype not in STORED_DTYPES:
            raise InvalidArgumentError(f"`dtype` must be torch.float32 or torch.float16, got {dtype}. Choose one.")
        self.folder = Path(folder)
        self.key = {**key, "format": FORMAT, "stored dtype": str(dtype)}
        self.dtype = dtype
        self._key_digest = hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()
        self._verified: dict[str, tuple[int, list[int]]] = {}  # rows of a shard, and which are not finite, by its name
        self._widths: dict[str, int] | None = None
        self._require_same_key()

    def missing(self, digests: Sequence[str]) -> list[int]:
        """The first row of each digest that is not stored, in row order."""
        shards, _, _ = self._locate(digests)
        first_row: dict[str, int] = {}
        for row in (shards < 0).nonzero().flatten().tolist():
            first_row.setdefault(digests[row], row)
        return list(first_row.values())

    def read(self, digests: Sequence[str]) -> StoredOutputs:
        """The outputs of rows that are all stored, in the order of their digests.

        Raises:
            StaleCacheError: if some are not.
        """
        shards, positions, paths = self._locate(digests)
        if self._widths is None or (shards < 0).any():
            raise StaleCacheError(
                f"The cache {self.folder} lacks {int((shards < 0).sum())} of {len(digests)} rows. "
                "Another program may have changed it: run again."
            )
        finite = self._finite(paths)[shards, positions] if paths else torch.ones(0, dtype=torch.bool)
        return StoredOutputs(tuple(paths), shards, positions, dict(self._widths), finite)

    def _remember(self, name: str, finite: Bool[Tensor, " rows"]) -> None:
        # As whole numbers: a small tensor for each shard would keep the C library from reusing the large blocks that
        # are freed around it.
        self._verified[name] = len(finite), (~finite).nonzero().flatten().tolist()

    def _finite(self, paths: Sequence[Path]) -> Bool[Tensor, "shards most_rows"]:
        """Which rows of each shard are finite; True beyond its rows."""
        verified = [self._verified[path.stem] for path in paths]
        finite = torch.ones(len(paths), max(rows for rows, _ in verified), dtype=torch.bool)
        for of_shard, (_, not_finite_rows) in zip(finite, verified, strict=True):
            of_shard[not_finite_rows] = False
        return finite

    def reserve(self, rows: int, outputs: ModelOutputs, *, limit: int | None = None) -> int:
        """Log how many bytes some rows will take, and refuse more than the limit.

        Args:
            rows: number of rows about to be stored.
            outputs: of any of them, for their widths.
            limit: in bytes, the `max_cache_bytes` of a training; None for half of the free disk (`DISK_SHARE`).

        Returns:
            The number of bytes.

        Raises:
            InvalidArgumentError: if they exceed the limit.
        """
        row_bytes = _DIGEST_BYTES + self.dtype.itemsize * sum(
            tensor.shape[1] for tensor in named_tensors(outputs).values()
        )
        most = int(shutil.disk_usage(self.folder).free * DISK_SHARE) if limit is None else limit
        logger.info("Storing %d rows x %d bytes = %s in %s", rows, row_bytes, _megabytes(rows * row_bytes), self.folder)
        if rows * row_bytes > most:
            source, advice = "half of the free disk", "Free some of it, choose another `cache_dir`, or use fewer rows."
            if limit is not None:
                source = "`max_cache_bytes`"
                fewer = ", keep fewer layers by `teacher_layers=1`" if len(outputs.layers) > 1 else ""
                advice = f"Raise it, use fewer rows{fewer}, or store half as much by `teacher_output_dtype=float16`."
            raise InvalidArgumentError(
                f"The outputs of {rows} rows take {_megabytes(rows * row_bytes)} ({row_bytes} bytes a row), but "
                f"{source} allows {_megabytes(most)}. {advice}"
            )
        return rows * row_bytes

    def add(self, digests: Sequence[str], outputs: ModelOutputs) -> None:
        """Write one shard: `outputs` of the rows with these digests, in the same order.

        Args:
            digests: of the rows.
            outputs: of the same rows.

        Raises:
            TeacherUnavailableError: if the outputs are no `[rows, width]`, or a row is neither finite nor all NaN.
            DiskFullError: if the disk is full; earlier shards are intact.
            InvalidArgumentError: if it cannot be written for another reason.
            StaleCacheError: if the stored outputs have other widths.
        """
        tensors = {name: tensor.to(self.dtype) for name, tensor in named_tensors(outputs).items()}
        fault = shape_fault(tensors, len(digests))
        if fault is not None:
            raise TeacherUnavailableError(fault, ProblemCode.INCOMPATIBLE)
        packed = torch.cat(list(tensors.values()), dim=1)
        finite = _finite_or_nan(packed)
        if finite is None:
            name, _ = not_finite(tensors) or ("outputs", 0)
            raise TeacherUnavailableError(f"its {name} are not finite in {self.dtype}", ProblemCode.NOT_FINITE)
        widths = {name: tensor.shape[1] for name, tensor in tensors.items()}
        if self._widths is not None and widths != self._widths:
            raise StaleCacheError(
                f"The cache {self.folder} holds outputs of widths {self._widths}, but the teacher gives {widths}. "
                "Delete it, or use another `cache_dir`."
            )
        shard = {"digests": torch.from_numpy(_as_bytes(digests)), "rows": packed}
        metadata = {"kind": _KIND, "key": self._key_digest, "widths": json.dumps(widths)}
        # Under another name first: an interruption leaves whole shards.
        temporary = self.folder / f"{uuid.uuid4().hex}.partial"
        try:
            save_file(shard, temporary, metadata=metadata)
            checksum = _checksum(temporary)
            os.replace(temporary, self.folder / f"{checksum}.safetensors")
        except (SafetensorError, OSError) as error:
            full = _is_full(error, self.folder, packed.nbytes)
            raise (DiskFullError if full else InvalidArgumentError)(
                f"Cannot write to the cache {self.folder}: {error}. Free some space, or choose another `cache_dir`; "
                "the rows stored before are intact."
            ) from error
        finally:
            temporary.unlink(missing_ok=True)
        self._widths = widths
        self._remember(checksum, finite)

    def _require_same_key(self) -> None:
        meta = self.folder / _META
        if not meta.exists():
            write_json(meta, {"kind": _KIND, "key": self.key})
            return
        try:
            stored_key = read_json(meta, _KIND)["key"]
        except (InvalidArgumentError, KeyError) as error:
            raise StaleCacheError(
                f"The cache {self.folder} does not say what it was made with. Delete it, or use another `cache_dir`."
            ) from error
        if stored_key != self.key:
            names = {*stored_key, *self.key}
            changed = sorted(name for name in names if stored_key.get(name) != self.key.get(name))
            raise StaleCacheError(
                f"The cache {self.folder} was made with another {', '.join(changed)}. "
                "Delete it, or use another `cache_dir`."
            )

    def _locate(self, digests: Sequence[str]) -> tuple[Int[Tensor, " rows"], Int[Tensor, " rows"], list[Path]]:
        """Shard (-1 where there is none) and position of each row, and the shards."""
        unique, row_digest = np.unique(_as_keys(_as_bytes(digests)), return_inverse=True)
        shards, positions = np.full(len(unique), -1), np.zeros(len(unique), dtype=np.int64)
        paths: list[Path] = []
        for path in sorted(self.folder.glob("*.safetensors")):
            stored = self._stored_digests(path)
            if stored is None or not len(unique):
                continue
            index = np.searchsorted(unique, stored).clip(max=len(unique) - 1)
            matches = unique[index] == stored
            # The checksum reads the whole shard: only of shards whose rows are used.
            if matches.any() and self._verify(path):
                shards[index[matches]], positions[index[matches]] = len(paths), matches.nonzero()[0]
                paths.append(path)
        return torch.from_numpy(shards[row_digest]), torch.from_numpy(positions[row_digest]), paths

    def _stored_digests(self, path: Path) -> np.ndarray | None:
        """The digests of a shard's rows; None, and the shard is deleted, if it cannot serve."""
        try:
            with safe_open(path, "pt") as shard:
                if (shard.metadata() or {}).get("key") == self._key_digest:
                    return _as_keys(shard.get_tensor("digests").numpy().copy())
                reason = "belongs to another teacher"
        except (SafetensorError, OSError, ValueError):
            reason = "cannot be read"
        _drop(path, reason)
        return None

    def _verify(self, path: Path) -> bool:
        """Whether a shard's content is what was written; if not, it is deleted."""
        if path.stem in self._verified:
            return True
        if _checksum(path) != path.stem:
            _drop(path, "does not match its checksum")
            return False
        content = _content_of(path, self.dtype)
        if content is None:
            _drop(path, "holds malformed outputs")
            return False
        widths, finite = content
        self._widths = widths if self._widths is None else self._widths
        if widths != self._widths:
            _drop(path, "holds outputs of other widths than the shards before it")
            return False
        self._remember(path.stem, finite)
        return True


def named_tensors(outputs: ModelOutputs) -> dict[str, Tensor]:
    """The stored tensors of a batch, by name; hidden layers, which are as large as a training step, are not stored."""
    logits = {} if outputs.logits is None else {"logits": outputs.logits.contiguous()}
    layers = {f"layer {index}": layer.contiguous() for index, layer in enumerate(outputs.layers)}
    return {"features": outputs.features.contiguous(), **logits, **layers}


def from_named(tensors: Mapping[str, Tensor]) -> ModelOutputs:
    """The outputs that `named_tensors` took apart."""
    count = sum(name.startswith("layer ") for name in tensors)
    layers = tuple(tensors[f"layer {index}"] for index in range(count))
    return ModelOutputs(tensors["features"], tensors.get("logits"), layers=layers)


def finite_rows_of(outputs: ModelOutputs | StoredOutputs) -> Bool[Tensor, " rows"]:
    """Which rows have finite outputs, as `compute_outputs` returns them: those of the others are NaN throughout."""
    return outputs.finite if isinstance(outputs, StoredOutputs) else ~outputs.features[:, 0].isnan()


def _as_bytes(digests: Sequence[str]) -> np.ndarray:
    raw = np.frombuffer(bytes.fromhex("".join(digests)), dtype=np.uint8)
    return raw.reshape(len(digests), _DIGEST_BYTES).copy()


def _as_keys(raw: np.ndarray) -> np.ndarray:
    """Digests as one sortable value each: 16 bytes a row, where a dictionary of texts takes 200."""
    return raw.view(f"S{_DIGEST_BYTES}").reshape(-1)


def _checksum(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as content:
        while chunk := content.read(1 << 20):  # hashlib.file_digest came with Python 3.11
            digest.update(chunk)
    return digest.hexdigest()


def _content_of(path: Path, dtype: torch.dtype) -> tuple[dict[str, int], Tensor] | None:
    """The width of each tensor in a shard and which rows are finite; None if it holds malformed outputs."""
    with safe_open(path, "pt") as shard:
        try:
            widths = json.loads(shard.metadata()["widths"])
            rows, digests = shard.get_tensor("rows"), shard.get_tensor("digests")
        except (KeyError, ValueError, SafetensorError):
            return None
        if not isinstance(widths, dict) or not all(type(width) is int and width > 0 for width in widths.values()):
            return None
        usable = rows.shape == (len(digests), sum(widths.values())) and rows.dtype == dtype and "features" in widths
        finite = _finite_or_nan(rows) if usable else None
        return None if finite is None else (widths, finite)


def _finite_or_nan(rows: Tensor) -> Tensor | None:
    """Which rows are finite; None if any other row is not NaN throughout."""
    finite = torch.isfinite(rows).all(dim=1)
    return finite if bool(finite.all()) or bool(rows[~finite].isnan().all()) else None


def _is_full(error: Exception, folder: Path, count: int) -> bool:
    """Whether the disk is why so many bytes were not written; safetensors keeps the system's code to itself."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return shutil.disk_usage(folder).free < count


def _drop(path: Path, reason: str) -> None:
    path.unlink(missing_ok=True)
    warnings.warn(f"The cached shard {path} {reason}. It is deleted, and its rows are computed again.", stacklevel=2)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
