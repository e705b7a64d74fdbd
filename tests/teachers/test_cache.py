import json

import pytest
import torch
import xxhash
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hf_ctkd.errors import InvalidArgumentError, ProblemCode, StaleCacheError, TeacherUnavailableError
from hf_ctkd.teachers import OutputCache, finite_rows_of
from hf_ctkd.types import ModelOutputs

KEY = {"model": "org/model", "revision": "abc"}
DIGESTS = [f"{number:032x}" for number in range(5)]


def outputs(start: int, stop: int, classes: int | None = 3) -> ModelOutputs:
    rows = torch.arange(start, stop)[:, None].float()
    return ModelOutputs(rows.expand(-1, 4).clone(), None if classes is None else rows.expand(-1, classes).clone())


def test_rows_come_back_by_their_digest(tmp_path):
    cache = OutputCache(tmp_path / "first", KEY)
    assert cache.missing(DIGESTS) == [0, 1, 2, 3, 4]
    assert cache.missing([DIGESTS[1], DIGESTS[0], DIGESTS[1]]) == [0, 1]
    assert cache.missing([]) == []
    cache.add(DIGESTS[:2], outputs(0, 2))
    cache.add(DIGESTS[2:], outputs(2, 5))
    reopened = OutputCache(tmp_path / "first", KEY)
    order = [4, 0, 0, 2]
    stored = reopened.read([DIGESTS[number] for number in order]).select(torch.arange(4))
    assert stored.features.tolist() == [[number] * 4 for number in order]
    assert stored.logits.tolist() == [[number] * 3 for number in order]


def test_digests_may_end_in_zeros(tmp_path):
    cache, digests = OutputCache(tmp_path, KEY), ["ab" + "00" * 15, "00" * 16, "ab" * 16]
    cache.add(digests, outputs(0, 3))
    assert cache.read(digests[::-1]).select(torch.arange(3)).features[:, 0].tolist() == [2, 1, 0]


def test_rows_that_are_not_stored_are_counted(tmp_path):
    cache = OutputCache(tmp_path, KEY)
    with pytest.raises(StaleCacheError, match="lacks 5 of 5 rows. Another program may have changed it: run again"):
        cache.read(DIGESTS)
    cache.add(DIGESTS[:2], outputs(0, 2))
    with pytest.raises(StaleCacheError, match="lacks 3 of 5 rows"):
        cache.read(DIGESTS)


def test_a_model_without_head_has_no_logits(tmp_path):
    cache = OutputCache(tmp_path, KEY)
    cache.add(DIGESTS[:2], outputs(0, 2, classes=None))
    assert cache.read(DIGESTS[:2]).widths == {"features": 4}
    assert cache.read(DIGESTS[:2]).select(torch.arange(2)).logits is None


def test_outputs_of_other_widths_are_refused(tmp_path):
    OutputCache(tmp_path, KEY).add(DIGESTS[:2], outputs(0, 2))
    cache = OutputCache(tmp_path, KEY)
    assert cache.missing(DIGESTS) == [2, 3, 4]
    with pytest.raises(StaleCacheError, match="but the teacher gives.*Delete it, or use another `cache_dir`"):
        cache.add(DIGESTS[2:], outputs(2, 5, classes=7))


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


REASONS = {
    "cut": "cannot be read",
    "empty": "cannot be read",
    "renamed tensor": "does not match its checksum",
    "changed digest": "does not match its checksum",
}


@pytest.mark.parametrize("damage", REASONS)
def test_a_damaged_shard_is_deleted_and_the_others_serve(tmp_path, damage):
    OutputCache(tmp_path, KEY).add(DIGESTS[:2], outputs(0, 2))
    (first,) = tmp_path.glob("*.safetensors")
    OutputCache(tmp_path, KEY).add(DIGESTS[2:], outputs(2, 5))
    (second,) = set(tmp_path.glob("*.safetensors")) - {first}
    content = second.read_bytes()
    damaged = {
        "cut": content[:-20],
        "empty": b"",
        "renamed tensor": content.replace(b"features", b"feelings"),
        "changed digest": content.replace(bytes.fromhex(DIGESTS[3]), bytes.fromhex(DIGESTS[0])),
    }
    second.write_bytes(damaged[damage])
    cache = OutputCache(tmp_path, KEY)
    with pytest.warns(UserWarning, match=f"{second.name} {REASONS[damage]}. It is deleted"):
        assert cache.missing(DIGESTS) == [2, 3, 4]
    assert cache.read(DIGESTS[:2]).select(torch.tensor([1])).features.tolist() == [[1] * 4]
    assert first.exists()
    assert not second.exists()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e30])
def test_outputs_that_are_not_finite_are_never_stored(tmp_path, number):
    cache = OutputCache(tmp_path, KEY, dtype=torch.float16)
    bad = outputs(0, 2)
    bad.logits[1, 2] = number
    with pytest.raises(TeacherUnavailableError, match="^its logits are not finite in torch.float16$") as raised:
        cache.add(DIGESTS[:2], bad)
    assert raised.value.code is ProblemCode.NOT_FINITE
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_row_without_finite_outputs_is_stored_as_such(tmp_path):
    for start, bad in ((0, 1), (2, 4)):
        part = outputs(start, start + 2 + start // 2)
        for tensor in (part.features, part.logits):
            tensor[bad - start] = torch.nan
        OutputCache(tmp_path, KEY).add(DIGESTS[start : start + len(part)], part)
    stored = OutputCache(tmp_path, KEY).read([DIGESTS[row] for row in (4, 0, 1, 2, 3)])
    assert stored.finite.tolist() == [False, True, False, True, True] == finite_rows_of(stored).tolist()
    assert stored.select(torch.tensor([0, 2])).logits.isnan().all()
    assert finite_rows_of(stored.select(torch.arange(5))).tolist() == stored.finite.tolist()


def test_outputs_of_another_number_of_rows_are_never_stored(tmp_path):
    cache = OutputCache(tmp_path, KEY)
    with pytest.raises(TeacherUnavailableError, match=r"^its features have shape \[3, 4\], expected \[2, width\]$"):
        cache.add(DIGESTS[:2], outputs(0, 3))
    assert not list(tmp_path.glob("*.safetensors"))


MALFORMED = {
    "another shape": ({"features": 4, "logits": 3}, torch.zeros(2, 7, 1)),
    "other rows": ({"features": 4, "logits": 3}, torch.zeros(3, 7)),
    "other widths": ({"features": 4}, torch.zeros(2, 7)),
    "no widths": (None, torch.zeros(2, 7)),
    "widths of text": ({"features": "7"}, torch.zeros(2, 7)),
    "no features": ({"logits": 7}, torch.zeros(2, 7)),
    "another type": ({"features": 7}, torch.zeros(2, 7, dtype=torch.float64)),
    "one not a number": ({"features": 7}, torch.zeros(2, 7).index_fill(1, torch.tensor([3]), torch.nan)),
    "infinite": ({"features": 7}, torch.full((2, 7), torch.inf)),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_shard_with_a_checksum_that_fits_is_deleted(tmp_path, kind):
    """As an earlier version of this library, or another program, may have written it."""
    cache = OutputCache(tmp_path, KEY)
    cache.add(DIGESTS[:2], outputs(0, 2))
    (path,) = tmp_path.glob("*.safetensors")
    shard = load_file(path)
    with safe_open(path, "pt") as stored:
        metadata = stored.metadata()
    widths, shard["rows"] = MALFORMED[kind]
    del metadata["widths"]
    metadata |= {} if widths is None else {"widths": json.dumps(widths)}
    path.unlink()
    save_file(shard, tmp_path / "x", metadata=metadata)
    checksum = xxhash.xxh3_128((tmp_path / "x").read_bytes()).hexdigest()
    (tmp_path / "x").rename(tmp_path / f"{checksum}.safetensors")
    with pytest.warns(UserWarning, match="holds malformed outputs. It is deleted, and its rows are computed again"):
        assert OutputCache(tmp_path, KEY).missing(DIGESTS[:2]) == [0, 1]
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_shard_of_other_widths_is_deleted(tmp_path):
    for classes, rows in ((3, slice(0, 2)), (7, slice(2, 5))):
        OutputCache(tmp_path, KEY).add(DIGESTS[rows], outputs(rows.start, rows.stop, classes))
    cache = OutputCache(tmp_path, KEY)
    assert cache.missing(DIGESTS[:2]) == []
    with pytest.warns(UserWarning, match="holds outputs of other widths than the shards before it. It is deleted"):
        assert cache.missing(DIGESTS) == [2, 3, 4]


def test_a_full_disk_leaves_earlier_shards_and_no_half_one(tmp_path, monkeypatch):
    cache = OutputCache(tmp_path, KEY)
    cache.add(DIGESTS[:2], outputs(0, 2))

    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hf_ctkd.teachers.cache.save_file", full)
    with pytest.raises(
        InvalidArgumentError, match="No space left on device. Free some space, or choose another `cache_d"
    ):
        cache.add(DIGESTS[2:], outputs(2, 5))
    assert cache.missing(DIGESTS) == [2, 3, 4]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidArgumentError, match="Cannot write .*teacher.json"):
        OutputCache(tmp_path / "file" / "cache", KEY)
