import json

import pytest
import torch

from hf_ctkd.errors import InvalidArgumentError, StaleCacheError
from hf_ctkd.teachers import OutputCache
from hf_ctkd.types import ModelOutputs

KEY = {"model": "org/model", "revision": "abc"}
DIGESTS = [f"{number:032x}" for number in range(5)]


def outputs(start: int, stop: int, classes: int | None = 3) -> ModelOutputs:
    rows = torch.arange(start, stop)[:, None].float()
    return ModelOutputs(rows.expand(-1, 4).clone(), None if classes is None else rows.expand(-1, classes).clone())


def test_rows_come_back_by_their_digest(tmp_path):
    cache = OutputCache(tmp_path / "one", KEY)
    assert cache.load() == ({}, {})
    cache.add(DIGESTS[:2], outputs(0, 2))
    cache.add(DIGESTS[2:], outputs(2, 5))
    index, tensors = OutputCache(tmp_path / "one", KEY).load()
    for number, digest in enumerate(DIGESTS):
        assert tensors["features"][index[digest]].tolist() == [number] * 4
        assert tensors["logits"][index[digest]].tolist() == [number] * 3


def test_a_model_without_head_has_no_logits(tmp_path):
    cache = OutputCache(tmp_path, KEY)
    cache.add(DIGESTS[:2], outputs(0, 2, classes=None))
    assert set(cache.load()[1]) == {"features"}


def test_a_stale_key_is_refused_and_says_what_changed(tmp_path):
    OutputCache(tmp_path, KEY)
    with pytest.raises(StaleCacheError, match="was made with another revision.*Delete it, or use another `cache_dir`"):
        OutputCache(tmp_path, {**KEY, "revision": "def"})
    with pytest.raises(StaleCacheError, match="another dtype, model"):
        OutputCache(tmp_path, {"revision": "abc", "model": "x", "dtype": "y"})


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"kind": "teacher-outputs"}), json.dumps({"kind": "x"})])
def test_a_folder_that_does_not_say_what_it_is_is_refused(tmp_path, content):
    (tmp_path / "teacher.json").write_text(content)
    with pytest.raises(StaleCacheError, match="does not say what it was made with"):
        OutputCache(tmp_path, KEY)


@pytest.mark.parametrize("damage", ["cut", "empty", "other width", "other names"])
def test_a_broken_shard_is_dropped_and_the_others_serve(tmp_path, damage):
    cache = OutputCache(tmp_path, KEY)
    cache.add(DIGESTS[:2], outputs(0, 2))
    (first,) = tmp_path.glob("*.safetensors")
    first.rename(tmp_path / "0.safetensors")
    cache.add(DIGESTS[2:], outputs(2, 5, classes=7 if damage == "other width" else 3))
    (second,) = set(tmp_path.glob("*.safetensors")) - {tmp_path / "0.safetensors"}
    content = second.read_bytes()
    if damage != "other width":
        broken = {"cut": content[:-20], "empty": b"", "other names": content.replace(b"features", b"feelings")}
        second.write_bytes(broken[damage])
    second = second.rename(tmp_path / "1.safetensors")
    index, tensors = cache.load()
    assert sorted(index) == DIGESTS[:2]
    assert len(tensors["features"]) == 2
    assert not second.exists()


def test_a_full_disk_leaves_earlier_shards_and_no_half_one(tmp_path, monkeypatch):
    cache = OutputCache(tmp_path, KEY)
    cache.add(DIGESTS[:2], outputs(0, 2))

    def full(tensors, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hf_ctkd.teachers.cache.save_file", full)
    with pytest.raises(
        InvalidArgumentError, match="No space left on device. Free some space, or choose another `cache_d"
    ):
        cache.add(DIGESTS[2:], outputs(2, 5))
    assert sorted(cache.load()[0]) == DIGESTS[:2]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidArgumentError, match="Cannot write .*teacher.json"):
        OutputCache(tmp_path / "file" / "cache", KEY)
