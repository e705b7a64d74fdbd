import os

import pytest

from hf_ctkd.cli.outputs import MARKER, absent_outputs, claim_file, claim_folder, remove_unused
from hf_ctkd.errors import InvalidArgumentError


def claim(folder, command="distill", **changes):
    claim_folder(folder, "--output_dir", command=command, **{"overwrite": False, **changes})


def test_a_folder_is_claimed_when_new_or_empty_and_by_the_same_command_again(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "a" / "new", tmp_path / "empty"):
        claim(folder)
        assert (folder / MARKER).is_file()
        (folder / "model.safetensors").write_text("x")
        claim(folder)
        with pytest.raises(InvalidArgumentError, match="`hf-ctkd demo` did not write .model.safetensors."):
            claim(folder, "demo")
        claim(folder, "demo", overwrite=True)
        claim(folder, "demo")


@pytest.mark.parametrize("marker", [None, "", "{", '{"kind": "other"}', '{"kind": "command-output"}'])
def test_a_folder_of_others_is_refused(tmp_path, marker):
    for name in "abcd":
        (tmp_path / name).write_text("mine")
    if marker is not None:
        (tmp_path / MARKER).write_text(marker)
    with pytest.raises(
        InvalidArgumentError,
        match=r"`--output_dir` .* holds files that .* \(a, b, c, ...\). Choose a new or empty folder",
    ):
        claim(tmp_path)


def test_a_link_to_a_folder_is_the_folder(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    claim(tmp_path / "link")
    claim(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InvalidArgumentError, match="`--output_dir`: .*dangling cannot be written .File exists."):
        claim(tmp_path / "dangling")


def test_an_input_is_never_the_output(tmp_path):
    claim(tmp_path)
    inputs = [("--student", "org/model"), ("--ranking", None), ("--dataset", f"{tmp_path}/.")]
    with pytest.raises(InvalidArgumentError, match="`--output_dir` .* is also `--dataset`, which would be replaced"):
        claim(tmp_path, inputs=inputs)
    claim(tmp_path, inputs=inputs, overwrite=True)


def test_what_a_refused_command_made_is_removed_and_nothing_else(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "kept").mkdir()
    values = {"output": f"{tmp_path}/a/b/ranking.json", "output_dir": f"{tmp_path}/c", "dataset": f"{tmp_path}/rows"}
    absent = absent_outputs(values | {"folder": f"{tmp_path}/empty", "index": None})
    claim_file(tmp_path / "a" / "b" / "ranking.json", "--output", kind="teacher-ranking", overwrite=False)
    claim(tmp_path / "c")
    remove_unused(absent)
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "kept"}
    claim(tmp_path / "c")
    (tmp_path / "c" / "model.safetensors").write_text("x")
    remove_unused(absent)
    assert (tmp_path / "c" / MARKER).is_file()


def test_an_output_that_cannot_be_looked_at_is_left_to_the_command():
    remove_unused(absent_outputs({"output": "x" * 5000, "folder": "a\0b"}))


def test_another_process_of_the_same_launch_may_be_marking_the_folder(tmp_path):
    (tmp_path / f".{MARKER}.x8s").write_text("")
    claim(tmp_path)


@pytest.mark.parametrize(
    "content", [None, "", '{"kind": "teacher-ranking", "x": 1}', '{\n  "kind": "teacher-ranking"\n}']
)
def test_a_file_is_new_empty_or_of_the_same_kind(tmp_path, content):
    path = tmp_path / "new" / "ranking.json"
    if content is not None:
        path.parent.mkdir()
        path.write_text(content)
    claim_file(path, "--output", kind="teacher-ranking", overwrite=False)
    assert path.parent.is_dir() and path.exists() == (content is not None)


@pytest.mark.parametrize("content", ["text,label\n", '{"kind": "distillation"}', '{"a": {"kind": "teacher-ranking"}}'])
def test_another_file_is_replaced_only_if_asked(tmp_path, content):
    path = tmp_path / "file"
    path.write_text(content)
    with pytest.raises(
        InvalidArgumentError, match="`--output` .* exists and holds no record of kind 'teacher-ranking'"
    ):
        claim_file(path, "--output", kind="teacher-ranking", overwrite=False)
    claim_file(path, "--output", kind="teacher-ranking", overwrite=True)


def test_links_folders_and_devices_are_refused(tmp_path):
    path = tmp_path / "real.json"
    path.write_text('{"kind": "teacher-ranking"}')
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (
        (tmp_path / "link", "is a link"),
        (tmp_path, "is a folder"),
        (tmp_path / "pipe", "is a device"),
    ):
        with pytest.raises(InvalidArgumentError, match=f"`--output` .* {reason}"):
            claim_file(name, "--output", kind="teacher-ranking", overwrite=False)
    with pytest.raises(InvalidArgumentError, match="`--output` /dev/null is a device or pipe. Name a file."):
        claim_file("/dev/null", "--output", kind="teacher-ranking", overwrite=True)
    claim_file(tmp_path / "link", "--output", kind="teacher-ranking", overwrite=True)
