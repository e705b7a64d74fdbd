import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    ConvNextV2ForImageClassification,
)

from hf_ctkd.demo import train, zoo
from hf_ctkd.demo.train import Encoded, build_zoo, is_trained, train_teacher
from hf_ctkd.demo.zoo import TeacherSpec
from hf_ctkd.errors import InvalidArgumentError

IMAGE = TeacherSpec("shapes", "image", "handwriting", "low half", "convnextv2", 2)
TEXT = TeacherSpec("words", "text", "accelerate", "kind", "electra", 1)


@pytest.fixture(autouse=True)
def _small_libraries_will_do(monkeypatch):
    monkeypatch.setattr(zoo, "FEWEST_ROWS_OF_A_CLASS", 10)


def test_an_image_teacher_opens_with_the_auto_classes(tmp_path):
    folder = train_teacher(IMAGE, tmp_path)
    model = AutoModelForImageClassification.from_pretrained(folder)
    assert model.config.id2label[4] == "four"
    assert AutoImageProcessor.from_pretrained(folder, backend="pil").size["height"] == 16
    assert "license: apache-2.0" in (folder / "README.md").read_text()
    record = json.loads((folder / "teacher.json").read_text())
    assert record["held_out_accuracy"] > 0.4, "two epochs are well above one in five"
    assert [path.name for path in tmp_path.iterdir()] == ["shapes"]


def test_a_text_teacher_opens_with_the_auto_classes(tmp_path):
    folder = train_teacher(TEXT, tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    batch = AutoTokenizer.from_pretrained(folder)(
        ["Wrap a model", "for many devices"], padding=True, return_tensors="pt"
    )
    assert model(**batch).logits.shape == (2, model.config.num_labels)


def test_an_encoder_is_saved_without_its_head(tmp_path):
    folder = train_teacher(dataclasses.replace(IMAGE, head=False, epochs=0), tmp_path)
    assert not [name for name in load_file(folder / "model.safetensors") if "classifier" in name]
    assert AutoModel.from_pretrained(folder).config.architectures == ["ConvNextV2Model"]


def test_a_model_without_a_body_of_its_own_cannot_lose_its_head(tmp_path, monkeypatch):
    monkeypatch.setattr(ConvNextV2ForImageClassification, "base_model_prefix", "classifier")
    with pytest.raises(InvalidArgumentError, match="`spec` asks for a model without its head, but ConvNextV2For"):
        train_teacher(dataclasses.replace(IMAGE, head=False, epochs=0), tmp_path)


def test_the_same_specification_gives_the_same_weights_whatever_ran_before(tmp_path):
    torch.set_num_threads(2)
    first = load_file(train_teacher(dataclasses.replace(IMAGE, epochs=1), tmp_path / "a") / "model.safetensors")
    torch.rand(7)
    torch.set_num_threads(1)
    second = load_file(train_teacher(dataclasses.replace(IMAGE, epochs=1), tmp_path / "b") / "model.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_only_missing_or_changed_teachers_are_trained(tmp_path, monkeypatch):
    specs = [dataclasses.replace(IMAGE, name=name, epochs=0) for name in ("one", "two")]
    assert build_zoo(tmp_path, specs[:1], processes=1, progress=False) == [tmp_path / "one"]
    trained = []
    monkeypatch.setattr(train, "train_teacher", lambda spec, folder: trained.append(spec.name))
    build_zoo(tmp_path, specs, processes=1, progress=False)
    assert trained == ["two"]
    changed = dataclasses.replace(specs[0], seed=5)
    assert is_trained(specs[0], tmp_path) and not is_trained(changed, tmp_path)


def test_an_interrupted_teacher_leaves_no_half_folder(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "_card", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_teacher(dataclasses.replace(IMAGE, epochs=0), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_several_processes_train_the_same_teachers(tmp_path):
    specs = [dataclasses.replace(IMAGE, name=name, epochs=epochs) for name, epochs in (("one", 0), ("two", 1))]
    folders = build_zoo(tmp_path / "many", specs, processes=2, progress=False)
    alone_folder = train_teacher(specs[1], tmp_path / "alone")
    parallel, alone = (load_file(folder / "model.safetensors") for folder in (folders[1], alone_folder))
    assert all(torch.equal(parallel[name], alone[name]) for name in alone)


def test_repeated_names_are_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match="'shapes' occurs twice"):
        build_zoo(tmp_path, [IMAGE, IMAGE])


def test_batches_hold_every_row_once_cut_to_the_longest_text():
    lengths = torch.tensor([2, 5, 3, 1, 4])
    encoded = Encoded(torch.arange(30).reshape(5, 6), torch.zeros(5, dtype=torch.long), lengths)
    batches = list(encoded.batches(torch.arange(5), 2))
    assert sorted(torch.cat(batches).tolist()) == [0, 1, 2, 3, 4]
    inputs = encoded.inputs(torch.tensor([0, 2]))
    assert inputs["input_ids"].tolist() == [[0, 1, 2], [12, 13, 14]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
