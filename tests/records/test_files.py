import errno
import json
import os

import pytest
from huggingface_hub import cached_assets_path

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records import default_cache
from hf_ctkd.records.files import read_json, write_bytes, write_json, write_text


def test_what_is_written_is_read_back(tmp_path):
    path = write_json(tmp_path / "new" / "folder" / "record.json", {"kind": "thing", "name": "Ümläut"})
    assert read_json(path, "thing") == {"kind": "thing", "name": "Ümläut"}
    assert "Ümläut" in path.read_text(encoding="utf-8") and path.read_bytes().endswith(b"\n")
    assert path.stat().st_mode & 0o777 == 0o644
    assert write_text(str(path), "ä").read_bytes() == "ä".encode()


def test_a_full_disk_costs_neither_the_old_file_nor_leaves_litter(tmp_path, monkeypatch):
    path = write_bytes(tmp_path / "record.json", b"old")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        InvalidArgumentError, match="Cannot write .*record.json: No space left on device. Choose a folder"
    ):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["record.json"]


def test_a_folder_that_is_a_file_cannot_be_written_into(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InvalidArgumentError, match="Cannot write .*Choose a folder that can be written"):
        write_text(tmp_path / "taken" / "record.json", "")


def test_numbers_that_are_not_finite_leave_the_old_file(tmp_path):
    path = write_text(tmp_path / "record.json", "old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"score": float("nan")})
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "Cannot read .*: No such file or directory"),
        ("{", "is not valid JSON: .* Restore the file"),
        ("[" * 100_000, "is not valid JSON: nested too deeply"),
        ("[1]", "must hold a record of kind 'thing', got None"),
        (json.dumps({"kind": "other"}), "must hold a record of kind 'thing', got 'other'"),
    ],
)
def test_what_is_no_such_record(tmp_path, text, message):
    path = tmp_path / "record.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InvalidArgumentError, match=message):
        read_json(path, "thing")


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_CTKD_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.setenv("HF_CTKD_CACHE", "")
    assert default_cache() == cached_assets_path("hf_ctkd")


def test_a_cache_that_cannot_be_made(monkeypatch, tmp_path):
    monkeypatch.delenv("HF_CTKD_CACHE", raising=False)
    (tmp_path / "hf_ctkd").write_text("")
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path))
    with pytest.raises(InvalidArgumentError, match="Cannot make the cache folder: .*Set `HF_CTKD_CACHE` to a folder"):
        default_cache()
