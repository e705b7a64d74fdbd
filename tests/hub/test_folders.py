import doctest
import json
import os
from pathlib import Path

import pytest
from hub_server import model_files

from hf_ctkd.errors import InvalidArgumentError, ProblemCode
from hf_ctkd.hub import folder_teachers, folders
from hf_ctkd.records import NOT_LOOKED_UP


def _save(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_each_model_in_the_folder_is_a_teacher(tmp_path):
    _save(
        tmp_path / "b-digits",
        model_files(labels=["zero", "one", "two"], parameters=11, card="license: mit\nlanguage: en"),
    )
    _save(tmp_path / "a-encoder", model_files("ViTModel", parameters=4, card=None))
    (tmp_path / "notes").mkdir()
    encoder, digits = folder_teachers(tmp_path)
    assert (digits.name, digits.model_id, digits.source) == ("b-digits", str(tmp_path / "b-digits"), "folder")
    assert (digits.task, digits.label_names, digits.problem) == ("image-classification", ("zero", "one", "two"), None)
    assert (digits.parameters, digits.license, digits.languages) == (11, "mit", ("en",))
    assert (encoder.name, encoder.task, encoder.label_names) == ("a-encoder", "image-feature-extraction", None)
    assert (encoder.parameters, encoder.license) == (4, None)


def test_the_folder_of_one_model_is_that_teacher_without_its_checkpoints(tmp_path):
    _save(tmp_path, model_files())
    _save(tmp_path / "checkpoint-10", model_files())
    assert [one.model_id for one in folder_teachers(str(tmp_path))] == [str(tmp_path)]


def test_text_models_are_told_by_their_tokenizer(tmp_path):
    files = model_files("BertModel")
    del files["preprocessor_config.json"]
    _save(tmp_path / "encoder", {**files, "tokenizer.json": b"{}"})
    files["config.json"] = b'{"architectures": ["BertForSequenceClassification"]}'
    _save(tmp_path / "classifier", files)
    files["config.json"] = b'{"architectures": ["BertForMaskedLM"]}'
    _save(tmp_path / "other", files)
    tasks = {one.name: one.task for one in folder_teachers(tmp_path)}
    assert tasks == {"classifier": "text-classification", "encoder": "feature-extraction", "other": None}


def test_the_revision_follows_the_files_that_loading_reads(tmp_path):
    def revision():
        return next(folder_teachers(tmp_path)).revision

    _save(tmp_path, model_files())
    first = revision()
    assert len(first) == 64
    (tmp_path / "README.md").write_text("another card")
    (tmp_path / "training_args.bin").write_bytes(b"1")
    assert revision() == first
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        kept = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(kept + b" ")
        assert revision() != first
        (tmp_path / name).write_bytes(kept)
    assert revision() == first


def test_the_same_bytes_elsewhere_have_the_same_revision(tmp_path):
    one, two = (_save(tmp_path / name, model_files()) for name in ("one", "two"))
    assert len({one.revision for one in folder_teachers(tmp_path)}) == 1, (one, two)


def test_shards_are_counted_and_a_missing_one_is_named(tmp_path):
    files = model_files()
    shard = files.pop("model.safetensors")
    names = [f"model-0000{index}-of-00002.safetensors" for index in (1, 2)]
    files["model.safetensors.index.json"] = json.dumps({"weight_map": dict(zip("ab", names, strict=True))}).encode()
    _save(tmp_path, {**files, names[0]: shard, names[1]: shard})
    [whole] = folder_teachers(tmp_path)
    assert (whole.parameters, whole.problem) == (12, None)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": []}')
    [broken] = folder_teachers(tmp_path)
    assert broken.problem == "its file model.safetensors.index.json must hold a `weight_map`. Save the model again."
    (tmp_path / "model.safetensors.index.json").write_bytes(files["model.safetensors.index.json"])
    (tmp_path / names[1]).unlink()
    [broken] = folder_teachers(tmp_path)
    assert broken.problem == f"its weights are incomplete: {names[1]} is missing. Copy the model again."


def test_a_broken_model_is_listed_with_its_problem(tmp_path):
    files = model_files()
    weights = files.pop("model.safetensors")
    broken = {
        "cut": {**files, "model.safetensors": weights[:-4]},
        "html": {**files, "model.safetensors": b"<!DOCTYPE html><html>not found</html>"},
        "json": {**files, "config.json": b"{", "model.safetensors": weights},
        "labels": {**files, "config.json": b'{"id2label": ["cat"]}', "model.safetensors": weights},
        "list": {**files, "config.json": b"[]", "model.safetensors": weights},
        "pickle": {**files, "pytorch_model.bin": weights},
        "weightless": files,
    }
    for name, content in broken.items():
        _save(tmp_path / name, content)
    problems = {one.name: one.problem for one in folder_teachers(tmp_path)}
    assert problems["cut"].startswith("its weights model.safetensors are cut short: 100 bytes of 104. ")
    assert problems["html"].startswith("its weights model.safetensors are broken: ")
    assert problems["json"].startswith("its file config.json is not valid JSON: ")
    assert problems["labels"] == "`id2label` of its configuration must map integers to names."
    assert problems["list"] == "its file config.json must hold a JSON object. Save the model again."
    assert problems["pickle"].startswith("it has only pickle weights, which run code when loaded.")
    assert problems["weightless"].startswith("it has no weights that transformers opens")


LAUGHS = "\n".join(["l0: &l0 [ha]", *(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 30))])


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        (b"---\nlicense: [\n---\n", "its metadata are malformed (ParserError)"),
        (b"---\nlicense: " + b"[" * 1500 + b"\n---\n", "its metadata are malformed (RecursionError)"),
        (b"---\nlicense: \xff\n---\n", "its file README.md is not UTF-8: invalid start byte at byte 13."),
        (b"---\nlicense: mit\n---\n" + b"a" * 30_000_000, "its file README.md has 30,000,021 bytes, more than"),
        (b"version https://git-lfs.github.com/spec/v1\n", "its file README.md is a pointer of Git LFS"),
    ],
)
def test_a_card_that_cannot_be_read_costs_the_licence_only(tmp_path, caplog, card, reason):
    _save(tmp_path / "model", {**model_files(), "README.md": card})
    [found] = folder_teachers(tmp_path)
    assert (found.license, found.languages, found.problem) == (NOT_LOOKED_UP, (), None)
    [line] = caplog.messages
    assert line.startswith(f"The card of model is left out: {reason}")


def test_a_card_whose_parts_refer_to_each_other_is_not_written_out(tmp_path):
    card = f"---\n{LAUGHS}\nlicense: *l29\nlanguage: *l29\n---\n"
    _save(tmp_path, {**model_files(), "README.md": card.encode()})
    [found] = folder_teachers(tmp_path)
    assert (found.license, found.languages, found.problem) == (None, (), None)


def test_a_folder_whose_name_is_not_utf_8_is_listed_under_a_name_that_can_be_written(tmp_path):
    _save(tmp_path / os.fsdecode(b"caf\xe9"), model_files())
    _save(tmp_path / "tea", {**model_files(), os.fsdecode(b"vocab\xe9.json"): b"{}"})
    bad, good = folder_teachers(tmp_path)
    assert bad.model_id == f"{tmp_path}/caf\\xe9" and bad.problem_code is ProblemCode.BROKEN
    assert bad.problem == "the name of its folder is not UTF-8, so no record can name it. Rename the folder."
    assert good.problem is None and len(good.revision) == 64


def test_a_folder_that_cannot_be_listed_is_refused(tmp_path, monkeypatch):
    def forbidden(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", forbidden)
    with pytest.raises(InvalidArgumentError, match="cannot be listed: Permission denied. Allow it to be read, or"):
        folder_teachers(tmp_path)


def test_a_folder_without_models_is_refused_at_once(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"gone is no folder. Check the spelling"):
        folder_teachers(tmp_path / "gone")
    with pytest.raises(InvalidArgumentError, match="holds no model: .* Save one with `save_pretrained`"):
        folder_teachers(tmp_path)


def test_examples():
    assert doctest.testmod(folders).failed == 0
