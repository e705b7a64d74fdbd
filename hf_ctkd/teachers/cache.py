"""Teacher outputs on disk, keyed by the identity of each row, so that no row is ever computed twice."""

import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError, StaleCacheError
from hf_ctkd.records import read_json, write_json
from hf_ctkd.types import ModelOutputs

_META = "teacher.json"
_KIND = "teacher-outputs"


class OutputCache:
    """The outputs of one teacher, as shards of rows that only ever get added.

    A row is known by the digest of its raw input, never by its place in a batch or a data set, so shuffles, subsets and
    other splits find their rows again. A folder belongs to one `key` (teacher sha, processor, dtype): a folder that
    says otherwise is refused. Shards are written under another name first, so an interruption leaves whole shards.

    Args:
        folder: of this teacher alone; made if absent.
        key: all that shapes the outputs besides the row, as JSON values.

    Raises:
        StaleCacheError: if the folder was written under another key.
        InvalidArgumentError: if the folder cannot be written.
    """

    def __init__(self, folder: Path | str, key: Mapping[str, str]) -> None:
        self.folder = Path(folder)
        self.key = dict(key)
        meta = self.folder / _META
        if meta.exists():
            try:
                found = read_json(meta, _KIND)["key"]
            except (InvalidArgumentError, KeyError) as error:
                raise StaleCacheError(
                    f"The cache {self.folder} does not say what it was made with. "
                    "Delete it, or use another `cache_dir`."
                ) from error
            if found != self.key:
                changed = sorted(name for name in {*found, *self.key} if found.get(name) != self.key.get(name))
                raise StaleCacheError(
                    f"The cache {self.folder} was made with another {', '.join(changed)}. "
                    "Delete it, or use another `cache_dir`."
                )
        else:
            write_json(meta, {"kind": _KIND, "key": self.key})

    def load(self) -> tuple[dict[str, int], dict[str, Tensor]]:
        """All rows so far: digest -> index, and the tensors that they index (empty when there are none).

        A shard that cannot be read (a disk that filled up, a copy that broke off) is deleted and computed again.
        """
        shards: list[dict[str, Tensor]] = []
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                shard = load_file(path)
            except (SafetensorError, OSError):
                shard = {}
            if "digests" in shard and (not shards or _shape(shard) == _shape(shards[0])):
                shards.append(shard)
            else:
                path.unlink(missing_ok=True)
        if not shards:
            return {}, {}
        joined = {name: torch.cat([shard[name] for shard in shards]) for name in shards[0]}
        index = {row.tobytes().hex(): number for number, row in enumerate(joined.pop("digests").numpy())}
        return index, joined

    def add(self, digests: Sequence[str], outputs: ModelOutputs) -> None:
        """Write one shard: `outputs` of the rows with these digests, in the same order.

        Raises:
            InvalidArgumentError: if it cannot be written (the disk is full); earlier shards are intact.
        """
        raw = np.frombuffer(bytes.fromhex("".join(digests)), dtype=np.uint8).reshape(len(digests), -1)
        tensors = {"digests": torch.from_numpy(raw.copy()), **named_tensors(outputs)}
        name = uuid.uuid4().hex
        temporary = self.folder / f"{name}.partial"
        try:
            save_file(tensors, temporary)
            os.replace(temporary, self.folder / f"{name}.safetensors")
        except (SafetensorError, OSError) as error:
            raise InvalidArgumentError(
                f"Cannot write to the cache {self.folder}: {error}. Free some space, or choose another `cache_dir`; "
                "what was computed before is kept."
            ) from error
        finally:
            temporary.unlink(missing_ok=True)


def named_tensors(outputs: ModelOutputs) -> dict[str, Tensor]:
    """What is kept of a batch, by name; hidden layers, which are as large as a training step, are not."""
    logits = {} if outputs.logits is None else {"logits": outputs.logits.contiguous()}
    layers = {f"layer {place}": layer.contiguous() for place, layer in enumerate(outputs.layers)}
    return {"features": outputs.features.contiguous(), **logits, **layers}


def from_named(tensors: Mapping[str, Tensor]) -> ModelOutputs:
    """The outputs that `named_tensors` took apart."""
    places = range(sum(name.startswith("layer ") for name in tensors))
    layers = tuple(tensors[f"layer {place}"] for place in places)
    return ModelOutputs(tensors["features"], tensors.get("logits"), layers=layers)


def _shape(shard: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape[1:] for name, tensor in shard.items()}
