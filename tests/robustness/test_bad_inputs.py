"""Inputs that ended in a traceback, a lost file or a false message once, and their siblings: one plain line each."""

import json
import re

import datasets
import pytest

from hf_ctkd.cli.outputs import MARKER

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", b"", "`--dataset` 'rows.csv' cannot be loaded"),
        ("rows.csv", b"\xff\xfe\x00\x81" * 50, "`--dataset` 'rows.csv' cannot be loaded"),
        ("rows.csv", b'text,label\n"a,cat\n', "`--dataset`"),
        ("rows.csv", b"a,b\n1,2\n3,4\n", "`--label_column`|`--input_column`|column"),
        ("rows.csv", b"text,label\n", "no rows|empty|cannot be loaded"),
        ("rows.csv", POINTER, "is a pointer of Git LFS"),
        ("rows.jsonl", POINTER, "is a pointer of Git LFS"),
        ("rows.parquet", POINTER, "is a pointer of Git LFS"),
        ("rows.parquet", b"PAR1 and no more", "`--dataset` 'rows.parquet' cannot be loaded"),
        ("rows.jsonl", b"[" * 5000, "`--dataset` 'rows.jsonl' cannot be loaded"),
        ("rows.jsonl", b"1\n2\n", "`--dataset` 'rows.jsonl' cannot be loaded|column"),
        ("rows.jsonl", b"\n", "`--dataset` 'rows.jsonl' cannot be loaded|column"),
        ("rows.txt", b"a text", "`--dataset` 'rows.txt' must end in one of"),
        ("rows.arrow", b"ARROW1", "`--dataset` 'rows.arrow' cannot be loaded"),
    ],
)
def test_data_that_cannot_be_read(refused, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    assert re.search(message, refused("select", dataset=name))
    assert (tmp_path / name).read_bytes() == content and not (tmp_path / "ranking.json").exists()


@pytest.mark.parametrize("cache", ["/proc/nowhere", "/dev/null/datasets"])
def test_a_cache_that_cannot_be_written(refused, monkeypatch, cache):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    line = refused("select")
    assert (
        f"The cache of data sets, {cache}, cannot be written" in line and "Set `HF_HOME` or `HF_DATASETS_CACHE`" in line
    )


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (["--report_to", "wandb"], "`--report_to`"),
        (["--num_train_epochs", "-1"], "`--num_train_epochs`"),
        (["--learning_rate", "nan"], "`--learning_rate`"),
        (["--per_device_train_batch_size", "0"], "`--per_device_train_batch_size`"),
        (["--gradient_accumulation_steps", "0"], "`--gradient_accumulation_steps`"),
        (["--adam_beta1", "1.5"], "`--adam_beta1`"),
        (["--warmup_steps", "inf"], "`--warmup_steps`"),
        (["--label_smoothing_factor", "2"], "`--label_smoothing_factor`"),
        (["--optim_args", "x"], "`--optim_args`"),
        (["--lr_scheduler_kwargs", "[1]"], "`--lr_scheduler_kwargs`"),
        (["--accelerator_config", "nowhere"], "`--accelerator_config`"),
        (["--deepspeed", "nowhere"], "`--deepspeed`"),
        (["--loss_settings", '{"epsilon": "x"}'], "`--loss_settings`"),
        (["--loss_settings", '{"probe": {"folds": 3}}'], "`--loss_settings`"),
        (["--loss_settings", '{"epsilon": -1.0}'], "`epsilon`"),
        (["--max_length", "0"], "`--max_length`"),
        (["--teacher_batch_size", "0"], "`--teacher_batch_size`"),
        (["--learning_rate", "1e30"], "`--learning_rate`"),
        (["--metrics", "nonsense"], "`--metrics`"),
        (["--seed", "-1"], "`--seed`"),
        (["--per_device_train_batch_size", "many"], "--per_device_train_batch_size"),
        (["--eval_strategy", "now"], "--eval_strategy"),
    ],
)
def test_a_wrong_value_names_its_flag(refused, tmp_path, hub, words, flag):
    assert flag in refused("distill", *words)
    assert not (tmp_path / "student" / "model.safetensors").exists()


@pytest.mark.parametrize(
    "content", ["", "{", "[" * 100000, "null", "[1]", '{"kind": "distillation"}', '{"kind": "teacher-ranking"}', "\x00"]
)
def test_a_ranking_that_cannot_be_read(refused, tmp_path, content):
    (tmp_path / "ranking.json").write_text(content)
    assert "ranking.json" in refused("distill", "--ranking", "ranking.json")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", b"null"),
        ("tokenizer.json", b"{"),
        ("tokenizer.json", b""),
        ("config.json", b"[]"),
        ("config.json", b"{}"),
        ("config.json", b"[" * 100000),
        ("model.safetensors", b""),
        ("model.safetensors", POINTER),
    ],
)
def test_a_student_that_cannot_be_loaded(refused, copy, name, content):
    folder = copy("bert", "start")
    (folder / name).write_bytes(content)
    assert "`--student`" in refused("distill", student=folder)


@pytest.mark.parametrize(
    "output", ["notes.txt", "link.json", "folder", "bert/config.json", "/dev/null", "pipe/x/y.json"]
)
def test_select_replaces_no_file_of_others(refused, copy, tmp_path, output):
    copy("bert")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "link.json").symlink_to("notes.txt")
    (tmp_path / "folder").mkdir()
    (tmp_path / "pipe").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert "`--output`" in refused("select", "--output", output)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path in before} == before
    assert (tmp_path / "link.json").is_symlink()


@pytest.mark.parametrize("output", ["bert", "rows", "student", "notes.txt", "/dev/null", "."])
def test_distill_writes_into_no_folder_of_others(refused, copy, tmp_path, output):
    for name in ("bert", "rows", "student"):
        copy(name)
    (tmp_path / "student" / MARKER).unlink()  # as one that was downloaded
    (tmp_path / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert "`--output_dir`" in refused("distill", "--output_dir", output)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_student_of_another_run_is_no_output_where_it_is_the_start(refused, copy):
    folder = copy("student")
    assert "is also `--student`" in refused("distill", "--output_dir", folder, student=folder)


def test_a_record_with_a_missing_field_is_not_published(refused, copy):
    folder = copy("student")
    record = json.loads((folder / "distillation.json").read_text())
    del record["task"]
    (folder / "distillation.json").write_text(json.dumps(record))
    assert "distillation.json" in refused("publish", folder, "me/student")


def test_a_configuration_without_an_end_is_not_published(refused, copy):
    folder = copy("student")
    (folder / "config.json").write_text("[" * 100000)
    assert "config.json is not valid JSON" in refused("publish", folder, "me/student")


@pytest.mark.parametrize("command", ["select", "distill"])
@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "-1"])
def test_a_bound_that_is_no_number_of_bytes(refused, command, value):
    assert "`--max_bytes` must be 0 or more, and finite" in refused(command, f"--max_bytes={value}")


@pytest.mark.parametrize("value", ["-1", "99999999999999999999"])
def test_a_seed_out_of_range(refused, value):
    assert "`--seed` must be between 0 and 4294967295" in refused("select", f"--seed={value}")
