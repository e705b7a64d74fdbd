"""Bad candidates of every kind: each costs itself alone, with a reason, and the sound ones beside it are ranked."""

import json
import os
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import image_processor, image_rows, png, text_rows, tiny_bert, tiny_resnet, word_tokenizer

from hf_ctkd import TeacherSelector
from hf_ctkd.errors import ProblemCode
from hf_ctkd.records import TeacherRanking
from hf_ctkd.teachers import LoadOptions

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
LAUGHS = "\n".join(["a0: &a0 [ha]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30))])
OWN_CODE = """
import ctypes, os, sys
import torch
from transformers import ResNetConfig, ResNetForImageClassification

class OwnError(Exception):
    pass

class OwnConfig(ResNetConfig):
    model_type = "own_resnet"

class OwnForImageClassification(ResNetForImageClassification):
    config_class = OwnConfig

    def forward(self, pixel_values, **settings):
        output = super().forward(pixel_values, **settings)
        {forward}
        return output
"""


@dataclass(frozen=True)
class Bad:
    """A way to spoil a sound teacher's folder, and what the ranking says of it."""

    spoil: Callable[[Path], object]
    reason: str
    code: ProblemCode


def content(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(data)


def large(name: str, size: int) -> Callable[[Path], object]:
    """A file with a hole, which takes no disk."""
    return lambda folder: os.truncate(os.open(folder / name, os.O_CREAT | os.O_WRONLY), size)


def settings(name: str, **values: object) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return edit


def config(**values: object) -> Callable[[Path], object]:
    return settings("config.json", **values)


def processor(**values: object) -> Callable[[Path], object]:
    return settings("preprocessor_config.json", **values)


def tokenizer(**values: object) -> Callable[[Path], object]:
    return settings("tokenizer_config.json", **values)


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return edit


def cut(size: int) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:size])

    return edit


def code(forward: str = "pass", *, top: str = "") -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        auto = {"AutoConfig": "own.OwnConfig", "AutoModelForImageClassification": "own.OwnForImageClassification"}
        config(model_type="own_resnet", auto_map=auto, architectures=["OwnForImageClassification"])(folder)
        (folder / "own.py").write_text(OWN_CODE.format(forward=forward) + top)

    return edit


def pickled(data: bytes) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(data)

    return edit


def zip_without_a_pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with zipfile.ZipFile(folder / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", "no pickle")


def fill(tensors: dict[str, torch.Tensor], value: float) -> None:
    tensors["classifier.1.weight"].fill_(value)


BROKEN, TOO_LARGE, INCOMPATIBLE = ProblemCode.BROKEN, ProblemCode.TOO_LARGE, ProblemCode.INCOMPATIBLE
POINTED, NOT_FINITE = ProblemCode.LFS_POINTER, ProblemCode.NOT_FINITE
IMAGE = {
    "weights are a pointer": Bad(content("model.safetensors", POINTER), "is a pointer of Git LFS", POINTED),
    "processor is a pointer": Bad(content("preprocessor_config.json", POINTER), "is a pointer of Git LFS", POINTED),
    "weights are cut": Bad(cut(-100), "are cut short: 13,", ProblemCode.TRUNCATED),
    "weights are cut in their header": Bad(cut(50), "are cut short: 50 bytes of", ProblemCode.TRUNCATED),
    "weights are empty": Bad(cut(0), "are cut short: 0 bytes of 8", ProblemCode.TRUNCATED),
    "weights are a page": Bad(content("model.safetensors", b"<!DOCTYPE html>..."), "weights .* are broken", BROKEN),
    "weights are larger than the memory": Bad(large("model.safetensors", 1 << 42), "of memory of this", TOO_LARGE),
    "weights are NaN": Bad(weights(lambda tensors: fill(tensors, torch.nan)), "weights are not finite", NOT_FINITE),
    "weights are infinite": Bad(weights(lambda tensors: fill(tensors, torch.inf)), "are not finite", NOT_FINITE),
    "weights overflow": Bad(
        weights(lambda tensors: fill(tensors, 3e38)), "outputs are not finite for 12 of 12 rows", NOT_FINITE
    ),
    "weights are incomplete": Bad(
        weights(lambda tensors: tensors.pop("classifier.1.bias")), "incomplete: 1 te", BROKEN
    ),
    "weights have other shapes": Bad(config(hidden_sizes=[8, 99]), "do not fit its configuration: 21", BROKEN),
    "shards are missing": Bad(
        lambda folder: (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors"),
        "cannot be loaded",
        BROKEN,
    ),
    "config is no JSON": Bad(content("config.json", b"{"), "is not valid JSON", BROKEN),
    "config is a list": Bad(content("config.json", b"[]"), "must hold a JSON object", BROKEN),
    "config is not UTF-8": Bad(content("config.json", b'{"a": "\xff"}'), "is not UTF-8", BROKEN),
    "config is nested deeply": Bad(
        content("config.json", b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "is nested too deeply", BROKEN
    ),
    "config is large": Bad(large("config.json", 30_000_000), "config.json has 30,000,000 bytes", TOO_LARGE),
    "processor is large": Bad(large("preprocessor_config.json", 30_000_000), "has 30,000,000 bytes", TOO_LARGE),
    "processor is nested deeply": Bad(
        content("preprocessor_config.json", b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "too deeply", BROKEN
    ),
    "99,999,999 labels": Bad(config(num_labels=99_999_999, id2label=None), "asks for 99,999,999 classes", TOO_LARGE),
    "99,999,999 labels of a part": Bad(config(text_config={"num_labels": 99_999_999}), "99,999,999 cl", TOO_LARGE),
    "10,000,000 layers": Bad(config(depths=[1, 10_000_000]), "asks for 10,000,000 layers", TOO_LARGE),
    "wider than the memory": Bad(config(hidden_sizes=[8, 10**9]), "of memory of this machine", TOO_LARGE),
    "wider than any tensor": Bad(config(hidden_sizes=[10**12, 10**12]), "cannot be loaded", BROKEN),
    "labels without text": Bad(config(id2label={"0": "\ud800", "1": "b"}), "holds a name that is no text", BROKEN),
    "labels without numbers": Bad(config(id2label={"cat": "a"}), "must map integers to names", BROKEN),
    "unknown architecture": Bad(config(model_type="nonsense"), "cannot be loaded: ", BROKEN),
    "values of other types": Bad(config(depths="many"), "cannot be loaded: ", BROKEN),
    "images of 100,000 pixels": Bad(processor(size={"height": 100_000, "width": 100_000}), "100,000 pix", TOO_LARGE),
    "images cut to 100,000 pixels": Bad(processor(do_center_crop=True, crop_size=100_000), "100,000 pi", TOO_LARGE),
    "images of no pixels": Bad(processor(size={"height": 0, "width": 0}), "cannot be run: ", INCOMPATIBLE),
    "images of a negative size": Bad(processor(size={"height": -3, "width": 8}), "cannot be run: ", INCOMPATIBLE),
    "images of another size than words": Bad(processor(size="large"), "cannot be loaded: ", BROKEN),
    "images without a mean": Bad(processor(image_mean=[]), "cannot be run: mean must have 3", INCOMPATIBLE),
    "images without a number": Bad(processor(image_mean=[float("nan")] * 3), "are not finite", NOT_FINITE),
    "images without a processor": Bad(
        lambda folder: (folder / "preprocessor_config.json").unlink(), "no image processor", BROKEN
    ),
    "another number of channels": Bad(
        processor(image_mean=[0.5], image_std=[0.5]), "cannot be run|have 3", INCOMPATIBLE
    ),
    "pickles alone": Bad(pickled(b"cos\nsystem\n."), "it has only pickle weights", ProblemCode.PICKLE_ONLY),
    "no weights": Bad(lambda folder: (folder / "model.safetensors").unlink(), "no weights", ProblemCode.NO_WEIGHTS),
    "no model": Bad(
        lambda folder: [path.unlink() for path in folder.iterdir()], "has a config.json", ProblemCode.NO_CONFIG
    ),
    "code that is not trusted": Bad(code(), "contains custom code", BROKEN),
}
TEXT = {
    "texts of -1 tokens": Bad(tokenizer(model_max_length=-1), "`model_max_length`", INCOMPATIBLE),
    "texts of no tokens": Bad(tokenizer(model_max_length=0), "`model_max_length`", INCOMPATIBLE),
    "texts of words": Bad(tokenizer(model_max_length="512"), "`model_max_length`", INCOMPATIBLE),
    "unknown word without a token": Bad(
        settings("tokenizer.json", model={"type": "WordLevel", "vocab": {"[PAD]": 0, "red": 1}, "unk_token": "[UNK]"}),
        "WordLevel error: Missing",
        INCOMPATIBLE,
    ),
    "tokenizer of an unknown kind": Bad(settings("tokenizer.json", model={"type": "?"}), "is malformed", BROKEN),
    "tokenizer is nested deeply": Bad(
        content("tokenizer.json", b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "cannot be loaded: ", BROKEN
    ),
    "tokenizer is large": Bad(large("tokenizer.json", 1 << 30), "tokenizer.json has 1,073,741,824", TOO_LARGE),
    "tokenizer is a pointer": Bad(content("tokenizer.json", POINTER), "is a pointer of Git LFS", POINTED),
    "a vocabulary of 10**12": Bad(config(vocab_size=10**12), "asks for 1,000,000,000,000 tokens", TOO_LARGE),
    "fewer positions than tokens": Bad(config(max_position_embeddings=1), "do not fit its config", BROKEN),
    "a million layers": Bad(config(num_hidden_layers=1_000_000), "asks for 1,000,000 layers", TOO_LARGE),
    "an image model": Bad(
        lambda folder: (tiny_resnet().save_pretrained(folder), None), "takes pixel_values, not text rows", INCOMPATIBLE
    ),
}
PICKLES = {
    "a pickle of nothing": Bad(pickled(b""), "cannot be loaded: ", BROKEN),
    "a pickle that is none": Bad(pickled(b"\x80\x04no pickle at all"), "cannot be loaded: ", BROKEN),
    "a pickle that runs a program": Bad(pickled(b"cos\nsystem\n(S'exit 1'\ntR."), "cannot be loaded: ", BROKEN),
    "a pickle that is a pointer": Bad(pickled(POINTER), "is a pointer of Git LFS", POINTED),
    "a zip file without a pickle": Bad(zip_without_a_pickle, "cannot be loaded: ", BROKEN),
}
CODE = {
    "an error of its own": Bad(code(top="raise OwnError('mine')"), "cannot be loaded: mine", BROKEN),
    "an error of its own while it runs": Bad(code("raise OwnError('mine')"), "cannot be run: mine", INCOMPATIBLE),
    "code that leaves": Bad(code(top="sys.exit(3)"), "cannot be loaded: SystemExit 3", BROKEN),
    "code that leaves while it runs": Bad(code("sys.exit(3)"), "cannot be run: SystemExit 3", INCOMPATIBLE),
    "code that recurs": Bad(code("return self.forward(pixel_values)"), "cannot be run: ", INCOMPATIBLE),
    "code that is none": Bad(code(top="this is no code"), "cannot be loaded: ", BROKEN),
    "code of a package that is missing": Bad(code(top="import no_such_package"), "cannot be loaded: ", BROKEN),
    "an assertion": Bad(code("assert False, 'odd'"), "cannot be run: odd", INCOMPATIBLE),
    "logits for no class": Bad(code("output['logits'] = output['logits'][:, :2]"), "names 3 classes", INCOMPATIBLE),
    "logits of one row": Bad(
        code("output['logits'] = output['logits'][:1]"), "have shape|cannot be run|no hidden state", INCOMPATIBLE
    ),
    "logits without rows": Bad(code("output['logits'] = torch.zeros(())"), "no head|have shape", INCOMPATIBLE),
    "logits that are no numbers": Bad(
        code("output['logits'] = output['logits'].int()"), "are torch.int32|cannot be run", INCOMPATIBLE
    ),
    "logits that are NaN": Bad(code("output['logits'] = output['logits'] * torch.nan"), "not finite", NOT_FINITE),
    "no outputs": Bad(code("output = None"), "cannot be run: ", INCOMPATIBLE),
    "other outputs in each batch": Bad(
        code("output['logits'] = torch.zeros(len(pixel_values), 3 if len(pixel_values) > 5 else 2)"),
        "names 3 classes|widths|cannot be run",
        INCOMPATIBLE,
    ),
}


def sound(folder: Path, modality: str) -> Path:
    model, processing_class = (
        (tiny_resnet(), image_processor()) if modality == "image" else (tiny_bert(), word_tokenizer())
    )
    model.save_pretrained(folder)
    processing_class.save_pretrained(folder)
    return folder


def rank(base: Path, modality: str, folders: list[Path], **options: object) -> TeacherRanking:
    """The ranking of some folders, written and read again."""
    rows = image_rows([png(row) for row in range(12)], [row % 3 for row in range(12)])
    if modality == "text":
        rows = text_rows([f"red cat {word}" for word in "abcdefghijkl"], [row % 3 for row in range(12)])
    selector = TeacherSelector(
        "leep", metrics=(), batch_size=8, cache_dir=base / "cache", progress=False, options=LoadOptions(**options)
    )
    selector.rank(folders, rows).save(base / "ranking.json")
    return TeacherRanking.load(base / "ranking.json")


def between_sound_ones(base: Path, modality: str, bad: dict[str, Bad]) -> list[Path]:
    folders = [sound(base / name, modality) for name in ("first", *bad, "last")]
    for candidate, folder in zip(bad.values(), folders[1:-1], strict=True):
        candidate.spoil(folder)
    return folders


@pytest.mark.parametrize(
    ("modality", "bad", "options"),
    [
        ("image", IMAGE, {}),
        ("text", TEXT, {}),
        ("image", PICKLES, {"allow_pickle": True}),
        ("image", CODE, {"trust_remote_code": True}),
    ],
    ids=["image", "text", "pickles", "code"],
)
def test_each_costs_itself_alone(tmp_path, modality, bad, options):
    ranking = rank(tmp_path, modality, between_sound_ones(tmp_path, modality, bad), **options)
    assert {teacher.candidate.name for teacher in ranking.scored} == {"first", "last"}
    skipped = {teacher.candidate.name: teacher for teacher in ranking.teachers if teacher.skipped is not None}
    assert skipped.keys() == bad.keys()
    others = {
        name: (teacher.skipped, teacher.skipped_code)
        for name, teacher in skipped.items()
        if not re.search(bad[name].reason, str(teacher.skipped)) or teacher.skipped_code is not bad[name].code
    }
    assert not others
    # Reasons are published; and nothing malformed stays for the next run (the last one is the first: its scores serve).
    assert not any(str(tmp_path) in str(teacher.skipped) for teacher in skipped.values())
    stored = {shard.parent.name.rsplit("-", 1)[0] for shard in (tmp_path / "cache" / "outputs").glob("*/*.safetensors")}
    assert stored - {"logits-without-rows"} == {"first"}  # that one is read as an encoder without a head


ODD = {
    "a card of 30 MB": content("README.md", b"---\nlicense: mit\n---\n" + b"a" * 30_000_000),
    "a card that laughs": content("README.md", f"---\n{LAUGHS}\nlicense: *a29\nlanguage: *a29\n---\n".encode()),
    "a card of brackets": content("README.md", b"---\nlicense: " + b"[" * 1000 + b"\n---\n"),
    "a card that is no text": content("README.md", b"---\nlicense: \xff\n---\n"),
    "a card that is a pointer": content("README.md", POINTER),
    "files of other programs": content(os.fsdecode(b"vocab\xe9.txt"), b"\xff"),
    "a pickle beside the weights": content("pytorch_model.bin", b"cos\nsystem\n."),
    "code that is not asked for": content("own.py", b"raise SystemExit"),
    "labels that repeat": config(id2label={"0": "a", "1": "a", "2": "a"}, label2id={"a": 2}),
}


def test_what_does_no_harm_costs_nothing(tmp_path):
    folders = [sound(tmp_path / name, "image") for name in ODD]
    for oddity, folder in zip(ODD.values(), folders, strict=True):
        oddity(folder)
    ranking = rank(tmp_path, "image", folders)
    assert {teacher.candidate.name: teacher.skipped for teacher in ranking.teachers} == dict.fromkeys(ODD)


def test_a_folder_whose_name_is_not_utf_8_costs_itself_alone(tmp_path):
    sound(tmp_path / "zoo" / "sound", "image")
    sound(tmp_path / "zoo" / os.fsdecode(b"caf\xe9"), "image")
    ranking = rank(tmp_path, "image", [tmp_path / "zoo"])
    reasons = {teacher.candidate.name: teacher.skipped for teacher in ranking.teachers}
    assert reasons.pop("sound") is None
    assert reasons == {"caf\\xe9": "the name of its folder is not UTF-8, so no record can name it. Rename the folder."}


LIMIT = 10
"""Seconds that a teacher may take; a sound one takes two."""
ENDLESS = {
    "code that hangs": Bad(code(top="while True: pass"), f"more than {LIMIT} seconds", ProblemCode.TIMED_OUT),
    "code that hangs while it runs": Bad(code("while True: pass"), f"more than {LIMIT} seconds", ProblemCode.TIMED_OUT),
    "code that crashes": Bad(code("ctypes.string_at(0)"), "ended the process that tried it", ProblemCode.CRASHED),
    "code that exits": Bad(code(top="os._exit(0)"), "ended the process that tried it", ProblemCode.CRASHED),
}


@pytest.mark.slow  # each one ends a process, and starting the next one imports torch and transformers
def test_what_never_ends_costs_its_time_limit(tmp_path):
    folders = between_sound_ones(tmp_path, "image", ENDLESS)
    ranking = rank(tmp_path, "image", folders, trust_remote_code=True, timeout=LIMIT)
    assert {teacher.candidate.name for teacher in ranking.scored} == {"first", "last"}
    skipped = {teacher.candidate.name: teacher for teacher in ranking.teachers if teacher.skipped is not None}
    for name, bad in ENDLESS.items():
        assert re.search(bad.reason, str(skipped[name].skipped)) and skipped[name].skipped_code is bad.code
