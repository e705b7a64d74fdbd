import doctest
import errno
import json

import pytest
from hub_server import TOKEN, model_files

from hf_ctkd.errors import InvalidArgumentError, TeacherUnavailableError
from hf_ctkd.hub import download, fetch_teacher, folder_teachers, hub_teachers
from hf_ctkd.records import TeacherCandidate

NEEDED = ("config.json", "model.safetensors", "preprocessor_config.json")


def _pinned(hub, name, files, **settings):
    return TeacherCandidate(name, hub.add(name, files, **settings))


def _contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_teacher_arrives_byte_by_byte_without_code_and_pickles(hub, tmp_path):
    files = model_files()
    others = {"pytorch_model.bin": b"1", "training_args.bin": b"2", "run.py": b"3", "onnx/model.safetensors": b"4"}
    folder = fetch_teacher(_pinned(hub, "org/a", {**files, **others}), cache_dir=tmp_path)
    assert _contents(folder) == {name: content for name, content in files.items() if name != "README.md"}
    assert not [request for name in others for request in hub.seen(f"resolve/.*{name}")]


def test_the_pinned_commit_is_fetched_although_there_is_a_newer_one(hub, tmp_path):
    hub.add("org/a", model_files(labels=["old", "x"]))
    [candidate] = hub_teachers("org/a")
    hub.add("org/a", model_files(labels=["new", "x"]))
    folder = fetch_teacher(candidate, cache_dir=tmp_path)
    assert json.loads((folder / "config.json").read_text())["id2label"]["0"] == "old"


def test_code_comes_of_the_pinned_commit_and_only_to_those_who_trust_it(hub, tmp_path, no_waiting):
    old = {**model_files(), "modeling.py": b"old", "train/run.py": b""}
    candidate = _pinned(hub, "org/a", old)
    hub.add("org/a", {**model_files(), "modeling.py": b"new"})
    assert "modeling.py" not in _contents(fetch_teacher(candidate, cache_dir=tmp_path / "wary"))
    folder = fetch_teacher(candidate, trust_remote_code=True, cache_dir=tmp_path / "trusting")
    assert _contents(folder) == {name: content for name, content in old.items() if name in ("modeling.py", *NEEDED)}
    hub.fault(".", status=503)
    assert fetch_teacher(candidate, trust_remote_code=True, cache_dir=tmp_path / "trusting") == folder


def test_shards_are_fetched_with_their_index(hub, tmp_path):
    files = model_files()
    index = json.dumps({"weight_map": {"weight": "model-00001-of-00001.safetensors"}}).encode()
    files["model-00001-of-00001.safetensors"] = files.pop("model.safetensors")
    files["model.safetensors.index.json"] = index
    folder = fetch_teacher(_pinned(hub, "org/a", files), cache_dir=tmp_path)
    assert {"model-00001-of-00001.safetensors", "model.safetensors.index.json"} <= set(_contents(folder))


def test_pickles_come_only_to_those_who_ask(hub, tmp_path):
    files = model_files()
    files["pytorch_model.bin"] = files.pop("model.safetensors")
    candidate = _pinned(hub, "org/a", files)
    with pytest.raises(TeacherUnavailableError) as caught:
        fetch_teacher(candidate, cache_dir=tmp_path)
    assert str(caught.value) == (
        "Teacher 'org/a' cannot be used: it has only pickle weights, which run code when loaded. "
        "Choose another, or pass `allow_pickle=True` if you trust it."
    )
    assert not hub.seen("resolve")
    assert "pytorch_model.bin" in _contents(fetch_teacher(candidate, allow_pickle=True, cache_dir=tmp_path))


def test_too_large_a_teacher_is_refused_before_its_first_byte(hub, tmp_path):
    files = model_files(parameters=1000)
    size = sum(len(content) for name, content in files.items() if name != "README.md")
    candidate = _pinned(hub, "org/a", files)
    with pytest.raises(TeacherUnavailableError, match=rf"it weighs {size:,} bytes, more than `max_bytes` {size - 1:,}"):
        fetch_teacher(candidate, max_bytes=size - 1, cache_dir=tmp_path)
    assert not hub.seen("resolve")
    assert fetch_teacher(candidate, max_bytes=size, cache_dir=tmp_path).is_dir()
    with pytest.raises(InvalidArgumentError, match="`max_bytes` must be at least 1, got 0"):
        fetch_teacher(candidate, max_bytes=0)


def test_a_control_with_random_weights_needs_no_weights(hub, tmp_path):
    candidate = TeacherCandidate("org/a", hub.add("org/a", model_files()), random_weights=True)
    folder = fetch_teacher(candidate, cache_dir=tmp_path)
    assert set(_contents(folder)) == {"config.json", "preprocessor_config.json"}


def test_refusals_say_what_to_do(hub, tmp_path):
    def reason(candidate):
        with pytest.raises(TeacherUnavailableError) as caught:
            fetch_teacher(candidate, cache_dir=tmp_path)
        return str(caught.value)

    gated = reason(_pinned(hub, "org/gated", model_files(), gated="manual"))
    assert gated.endswith(f"it is gated: ask for access at {hub.url}/org/gated, then log in with `hf auth login`.")
    hidden = "it is private or missing. Check the name, or log in with a token that may read it."
    assert reason(_pinned(hub, "org/private", model_files(), private=True)).endswith(hidden)
    assert reason(TeacherCandidate("org/missing", "0" * 40)).endswith(hidden)
    hub.add("org/a", model_files())
    assert "it has no such revision" in reason(TeacherCandidate("org/a", "0" * 40))
    assert "it has no config.json" in reason(_pinned(hub, "org/empty", {"README.md": b""}))
    assert "cannot be used: it is no folder here, and on the Hub: it is private or" in reason(
        next(hub_teachers("org/missing"))
    )
    assert "it is not pinned to a revision" in reason(TeacherCandidate("org/a", ""))


def test_gated_and_private_teachers_come_with_a_token(hub, tmp_path):
    for name, settings in (("org/gated", {"gated": "auto", "granted": True}), ("org/private", {"private": True})):
        candidate = _pinned(hub, name, model_files(), **settings)
        assert fetch_teacher(candidate, token=TOKEN, cache_dir=tmp_path / name).is_dir()


def test_a_download_that_breaks_off_goes_on_where_it_stopped(hub, tmp_path, no_waiting):
    files = model_files(parameters=5000)
    hub.fault("GET .*model.safetensors", truncate=True, times=3)
    folder = fetch_teacher(_pinned(hub, "org/a", files), cache_dir=tmp_path)
    assert (folder / "model.safetensors").read_bytes() == files["model.safetensors"]


def test_a_download_that_keeps_breaking_off_is_given_up_and_taken_up_again_later(hub, tmp_path, no_waiting):
    candidate = _pinned(hub, "org/a", model_files(parameters=100))
    hub.fault("GET .*model.safetensors", truncate=True)
    with pytest.raises(TeacherUnavailableError, match="the connection to the Hub broke off .* run again"):
        fetch_teacher(candidate, cache_dir=tmp_path)
    hub.faults.clear()
    assert "model.safetensors" in _contents(fetch_teacher(candidate, cache_dir=tmp_path))


@pytest.mark.parametrize("where", ["GET .*/tree/", "GET .*/resolve/.*safetensors"])
def test_a_rate_limit_is_waited_for(hub, tmp_path, no_waiting, where):
    candidate = _pinned(hub, "org/a", model_files())
    hub.fault(where, status=429, headers={"Retry-After": "2"}, times=2)
    assert fetch_teacher(candidate, cache_dir=tmp_path).is_dir()
    assert no_waiting.count(3.0) == 2


def test_a_rate_limit_and_a_failing_hub_are_given_up_in_the_end(hub, tmp_path, no_waiting):
    candidate = _pinned(hub, "org/a", model_files())
    hub.fault("GET .*/tree/", status=429, headers={"Retry-After": "2"})
    with pytest.raises(TeacherUnavailableError, match=r"rate limited \(HTTP 429\). Wait 2 seconds"):
        fetch_teacher(candidate, cache_dir=tmp_path)
    hub.faults.clear()
    hub.fault("/resolve/", status=503)
    with pytest.raises(TeacherUnavailableError, match=r"the Hub failed \(HTTP 503\). Run again later"):
        fetch_teacher(candidate, cache_dir=tmp_path)


def test_a_full_disk_is_named(hub, tmp_path, monkeypatch):
    candidate = _pinned(hub, "org/a", model_files())

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "snapshot_download", full)
    with pytest.raises(TeacherUnavailableError, match="it cannot be stored: No space left on device"):
        fetch_teacher(candidate, cache_dir=tmp_path)


def test_a_whole_copy_in_the_cache_serves_while_the_hub_is_away(hub, tmp_path, no_waiting):
    candidate = _pinned(hub, "org/a", {**model_files(), "run.py": b"", "onnx/model.onnx": b"1"})
    folder = fetch_teacher(candidate, cache_dir=tmp_path)
    hub.fault(".", status=503)
    assert fetch_teacher(candidate, cache_dir=tmp_path) == folder
    with pytest.raises(TeacherUnavailableError, match=r"the Hub failed \(HTTP 503\)"):
        fetch_teacher(candidate, cache_dir=tmp_path / "other")


def test_a_copy_with_a_hole_does_not_serve(hub, tmp_path, no_waiting):
    candidate = _pinned(hub, "org/a", model_files())
    (fetch_teacher(candidate, cache_dir=tmp_path) / "model.safetensors").unlink()
    hub.fault(".", status=503)
    with pytest.raises(TeacherUnavailableError, match=r"the Hub failed \(HTTP 503\)"):
        fetch_teacher(candidate, cache_dir=tmp_path)


def test_offline_and_unreachable_hubs_are_told_apart(hub, run_against_hub, tmp_path):
    candidate = _pinned(hub, "org/a", model_files())
    script = f"""
import time
time.sleep = lambda seconds: None
from hf_ctkd.errors import TeacherUnavailableError
from hf_ctkd.hub import fetch_teacher
from hf_ctkd.records import TeacherCandidate
try:
    fetch_teacher(TeacherCandidate("org/a", {candidate.revision!r}), cache_dir={str(tmp_path)!r})
except TeacherUnavailableError as error:
    print(error)
"""
    offline = run_against_hub(script, HF_HUB_OFFLINE="1")
    assert "offline mode is on and it is not in the cache. Unset `HF_HUB_OFFLINE`" in offline.stdout, offline.stderr
    away = run_against_hub(script, HF_ENDPOINT="http://127.0.0.1:9")
    assert "the connection to the Hub broke off ([Errno 111] Connection refused)" in away.stdout, away.stderr


def test_a_folder_is_returned_as_it_is(tmp_path):
    for name, content in model_files().items():
        (tmp_path / name).write_bytes(content)
    [candidate] = folder_teachers(tmp_path)
    assert fetch_teacher(candidate) == tmp_path


def test_a_folder_that_changed_since_it_was_listed_is_refused(tmp_path):
    for name, content in model_files().items():
        (tmp_path / name).write_bytes(content)
    [candidate] = folder_teachers(tmp_path)
    (tmp_path / "README.md").write_text("the card is not part of the model")
    assert fetch_teacher(candidate) == tmp_path
    (tmp_path / "preprocessor_config.json").write_text("{}")
    with pytest.raises(
        TeacherUnavailableError, match="its files have changed since it was listed. List the folder again"
    ):
        fetch_teacher(candidate)
    [candidate] = folder_teachers(tmp_path)
    (tmp_path / "modeling.py").write_text("code = 1")
    with pytest.raises(TeacherUnavailableError, match="its files have changed"):
        fetch_teacher(candidate)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(TeacherUnavailableError, match="only pickle weights"):
        fetch_teacher(candidate)
    with pytest.raises(TeacherUnavailableError, match="more than `max_bytes` 5"):
        fetch_teacher(candidate, allow_pickle=True, max_bytes=5)
    with pytest.raises(TeacherUnavailableError, match="its folder is gone: there is no gone. Run this where the"):
        fetch_teacher(TeacherCandidate(str(tmp_path / "gone"), candidate.revision, source="folder"))


def test_a_folder_of_pickles_is_fetched_on_request(tmp_path):
    for name, content in model_files().items():
        (tmp_path / name.replace("model.safetensors", "pytorch_model.bin")).write_bytes(content)
    [candidate] = folder_teachers(tmp_path)
    assert "only pickle weights" in candidate.problem
    assert fetch_teacher(candidate, allow_pickle=True) == tmp_path


def test_examples():
    assert doctest.testmod(download).failed == 0
