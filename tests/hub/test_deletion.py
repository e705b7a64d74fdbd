from pathlib import Path

import pytest
from hub_server import model_files
from huggingface_hub import constants, hf_hub_download, scan_cache_dir
from huggingface_hub.file_download import repo_folder_name

from hf_ctkd.hub import NewDownloads, fetch_teacher
from hf_ctkd.records import TeacherCandidate


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of huggingface_hub, for all that is not given one."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def fetched(hub, cache: Path, name: str, parameters: int = 6) -> TeacherCandidate:
    candidate = TeacherCandidate(name, hub.add(name, model_files(parameters=parameters)))
    fetch_teacher(candidate, cache_dir=cache)
    return candidate


def commits(cache: Path) -> dict[str, set[str]]:
    return {repo.repo_id: {copy.commit_hash for copy in repo.revisions} for repo in scan_cache_dir(cache).repos}


def test_what_is_new_goes_and_what_was_there_stays(hub, cache):
    old = fetched(hub, cache, "org/old")
    downloads = NewDownloads()
    newer, new, other = (fetched(hub, cache, name) for name in ("org/old", "org/new", "org/other"))
    downloads.delete([old, newer, new, TeacherCandidate("org/never", "sha")])
    assert commits(cache) == {"org/old": {old.revision, newer.revision}, "org/other": {other.revision}}
    assert not (cache / "models--org--new").exists()


def test_a_model_of_which_a_part_was_there_stays(hub, cache):
    part = TeacherCandidate("org/part", hub.add("org/part", model_files()))
    hf_hub_download("org/part", "config.json", revision=part.revision, cache_dir=cache)
    (cache / repo_folder_name(repo_id="org/broken-off", repo_type="model") / "blobs").mkdir(parents=True)
    downloads = NewDownloads()
    for candidate in (part, broken_off := fetched(hub, cache, "org/broken-off")):
        fetch_teacher(candidate, cache_dir=cache)
    downloads.delete([part, broken_off])
    assert commits(cache) == {"org/part": {part.revision}, "org/broken-off": {broken_off.revision}}


def test_folders_are_left_alone(hub, cache, tmp_path):
    downloads = NewDownloads()  # there is no cache yet
    folder = tmp_path / "org" / "model"
    folder.mkdir(parents=True)
    model = fetched(hub, cache, "org/model")
    downloads.delete([TeacherCandidate(str(folder), "digest", "folder")])
    assert folder.is_dir() and commits(cache) == {"org/model": {model.revision}}
    downloads.delete([model])
    assert folder.is_dir() and commits(cache) == {}


def test_a_cache_that_cannot_be_deleted_from_costs_no_result(hub, cache, monkeypatch, caplog):
    downloads = NewDownloads()
    model = fetched(hub, cache, "org/model")

    def refused(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("hf_ctkd.hub.deletion.scan_cache_dir", refused)
    downloads.delete([model])
    assert "Downloads of org/model are left in the cache: [Errno 13] Permission denied" in caplog.text
