import json
import struct

import psutil
import pytest
from hub_server import model_files

from hf_ctkd.errors import ProblemCode, TeacherUnavailableError
from hf_ctkd.hub import fetch_teacher, folder_teachers, hub_teachers, limits
from hf_ctkd.hub.limits import check_config, check_files, check_memory, check_sizes, read_object, read_text


def refused(check, *arguments) -> tuple[str, ProblemCode]:
    with pytest.raises(TeacherUnavailableError) as error:
        check(*arguments)
    return str(error.value), error.value.code


def write(folder, content: bytes, name="config.json"):
    (folder / name).write_bytes(content)
    return folder


def test_what_is_no_text_or_no_object(tmp_path):
    assert read_text(write(tmp_path, b'{"a": 1}'), "config.json") == '{"a": 1}'
    assert read_object(tmp_path, "config.json") == {"a": 1}
    reason = refused(read_text, write(tmp_path, b"\xff"), "config.json")[0]
    assert reason == "its file config.json is not UTF-8: invalid start byte at byte 0. Save the model again."
    assert "is not valid JSON" in refused(read_object, write(tmp_path, b"{"), "config.json")[0]
    assert "must hold a JSON object" in refused(read_object, write(tmp_path, b"[]"), "config.json")[0]
    deep = b"[" * 100_000 + b"]" * 100_000
    reason = refused(read_object, write(tmp_path, b'{"a": ' + deep + b"}"), "config.json")[0]
    assert reason == "its file config.json is nested too deeply. Save the model again."
    assert refused(read_text, tmp_path, "gone.txt")[0] == "its file gone.txt cannot be read: No such file or directory."


@pytest.mark.parametrize(
    ("name", "most"), [("README.md", 1 << 19), ("tokenizer.json", 1 << 27), ("vocab.txt", 1 << 27), ("x.json", 1 << 24)]
)
def test_text_files_have_a_size(tmp_path, name, most):
    check_sizes({name: most})
    reason, code = refused(check_sizes, {"config.json": 5, name: most + 1})
    assert reason.startswith(
        f"its file {name} has {most + 1:,} bytes, more than the {most:,} that such a file may have."
    )
    assert code is ProblemCode.TOO_LARGE
    with open(tmp_path / name, "wb") as stream:
        stream.truncate(most + 1)
    assert refused(read_text, tmp_path, name)[0] == reason


def test_weights_have_to_fit_the_memory():
    memory = psutil.virtual_memory().total
    check_memory(memory)
    reason, code = refused(check_sizes, {"model-1.safetensors": memory, "model-2.safetensors": 1})
    assert "of memory of this machine. Choose a smaller one." in reason and code is ProblemCode.TOO_LARGE


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "pytorch_model.bin"])
def test_a_pointer_of_git_lfs_is_named(tmp_path, name):
    write(tmp_path, b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 5\n", name)
    reason = f"its file {name} is a pointer of Git LFS and not the file itself. Run `git lfs pull` in its folder."
    assert refused(check_files, tmp_path, [name]) == (reason, ProblemCode.LFS_POINTER)


def test_weights_that_end_too_early_are_named(tmp_path):
    whole = model_files()["model.safetensors"]
    check_files(write(tmp_path, whole, "model.safetensors"), ["model.safetensors"])
    for size in (0, 4, 20, len(whole) - 1):
        reason, code = refused(check_files, write(tmp_path, whole[:size], "model.safetensors"), ["model.safetensors"])
        assert reason.startswith(f"its weights model.safetensors are cut short: {size} bytes of ")
        assert code is ProblemCode.TRUNCATED


@pytest.mark.parametrize("header", [b"<!DOCTYPE html>", struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 5) + b'{"a":'])
def test_what_is_no_safetensors_is_left_to_safetensors(tmp_path, header):
    check_files(write(tmp_path, header, "model.safetensors"), ["model.safetensors"])
    (tmp_path / "config.json").write_text("{}")
    assert "its weights model.safetensors are broken" in next(folder_teachers(tmp_path)).problem


@pytest.mark.parametrize(
    "config",
    [
        {"num_labels": 99_999_999},
        {"text_config": {"num_labels": 99_999_999}},
        {"parts": [{"num_classes": 1e300}]},
        {"id2label": {str(index): "" for index in range(100_001)}},
        {"num_hidden_layers": 1_000_001},
        {"n_layer": 1_000_001},
        {"encoder_layers": 1_000_001},
        {"num_local_experts": 1_000_001},
        {"depths": [3, 1_000_001]},
        {"vocab_size": 10**12},
    ],
)
def test_a_configuration_asks_for_no_more_than_any_model_needs(config):
    reason, code = refused(check_config, config)
    assert "of its configuration asks for " in reason and reason.endswith("Choose another model.")
    assert code is ProblemCode.TOO_LARGE


def test_configurations_that_exist_are_within_bounds():
    check_config({"id2label": {str(index): "" for index in range(21_841)}, "num_labels": 21_841})
    check_config(
        {"num_hidden_layers": 200, "depths": [3, 27, 3], "vocab_size": 1_000_000, "labels": "x", "depth": True}
    )
    check_config({"num_labels": "many", "num_hidden_layers": None, "hidden_sizes": [65_536], "max_depth": 1e9})


@pytest.mark.parametrize(
    "settings",
    [
        {"size": 100_000},
        {"size": {"height": 100_000, "width": 8}},
        {"size": {"shortest_edge": 100_000, "longest_edge": 10}},
        {"size": {"longest_edge": 100_000}},
        {"crop_size": {"height": 8, "width": 100_000}},
        {"image_processor": {"pad_size": [8, 100_000]}},
        {"size_divisor": 100_000},
    ],
)
def test_a_processor_makes_no_images_beyond_the_bound(tmp_path, settings):
    write(tmp_path, json.dumps(settings).encode(), "preprocessor_config.json")
    reason, code = refused(check_files, tmp_path, ["preprocessor_config.json"])
    assert "makes images of 100,000 pixels a side, more than 4,096." in reason
    assert code is ProblemCode.TOO_LARGE


def test_a_bound_on_the_longest_edge_is_no_size(tmp_path):
    settings = {"size": {"shortest_edge": 800, "longest_edge": 12_845_056}, "crop_size": 224}
    write(tmp_path, json.dumps(settings).encode(), "preprocessor_config.json")
    check_files(tmp_path, ["preprocessor_config.json"])


def test_a_download_is_checked_before_and_after(hub, monkeypatch):
    hub.add("org/pointer", {**model_files(), "model.safetensors": b"version https://git-lfs.github.com/spec/v1\n"})
    [candidate] = hub_teachers("org/pointer")
    assert "is a pointer of Git LFS" in refused(fetch_teacher, candidate)[0]
    hub.add("org/large", model_files(note=b"1"))
    [candidate] = hub_teachers("org/large")
    monkeypatch.setitem(limits.MOST_BYTES, "other", 10)
    assert "its file config.json has" in refused(fetch_teacher, candidate)[0]
    assert not hub.seen("org/large/resolve")


def test_a_search_reads_no_more_of_a_configuration_than_a_folder_does(hub):
    hub.add("org/many", {**model_files(), "config.json": b'{"num_labels": 99999999}'})
    hub.add("org/a", model_files())
    problems = {found.model_id: found.problem_code for found in hub_teachers(author="org")}
    assert problems == {"org/many": ProblemCode.TOO_LARGE, "org/a": None}
