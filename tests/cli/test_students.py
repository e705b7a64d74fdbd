from pathlib import Path

import pytest
import torch
from tiny_shelf import save_resnet
from transformers import AutoModelForImageClassification

from hf_ctkd.cli.students import load_student
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.teachers import LoadOptions
from hf_ctkd.types import LabelSpace

FIVE = LabelSpace(("a", "b", "c", "d", "e"))


def load(name, modality="image", classes=FIVE):
    return load_student(str(name), modality, classes, options=LoadOptions())


@pytest.mark.parametrize("name", ["zoo/four", "zoo/encoder"])
def test_a_head_for_the_classes_of_the_data(shelf, name):
    model, processor = load(shelf / name)
    assert model.config.num_labels == 5
    assert model.config.id2label[4] == "e" and model.config.label2id["e"] == 4
    assert model.classifier[-1].out_features == 5
    assert processor.size["height"] == 8


def test_the_body_is_the_checkpoint_s(shelf):
    other, _ = load(shelf / "zoo" / "four")
    again, _ = load(shelf / "zoo" / "four")
    pairs = zip(other.resnet.parameters(), again.resnet.parameters(), strict=True)
    assert all(bool((one == two).all()) for one, two in pairs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_stored_in_half_precision_are_loaded_to_be_trained(tmp_path, dtype):
    folder = save_resnet(tmp_path / "half", 3)
    AutoModelForImageClassification.from_pretrained(folder, dtype=dtype).save_pretrained(folder)
    assert AutoModelForImageClassification.from_pretrained(folder).dtype == dtype
    model, _ = load(folder)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_text_student(shelf):
    model, tokenizer = load(shelf / "bert", "text")
    assert model.config.num_labels == 5
    assert model.config.pad_token_id == tokenizer.pad_token_id


def test_a_student_of_the_hub_keeps_its_name(hub, shelf):
    files = {path.name: path.read_bytes() for path in Path(shelf / "student").iterdir()}
    sha = hub.add("org/student", files)
    model, _ = load(f"org/student@{sha}")
    assert model.config.name_or_path == "org/student"


@pytest.mark.parametrize(
    ("name", "modality", "said"),
    [
        ("bert", "image", "must be an image model with its image processor"),
        ("student", "text", "must be a text model with its tokenizer"),
        ("zoo", "image", "it holds 2 models. Name one of them"),
    ],
)
def test_what_is_no_student_for_these_rows(shelf, name, modality, said):
    with pytest.raises(InvalidArgumentError, match=said):
        load(shelf / name, modality)


def test_a_student_that_the_hub_does_not_have(hub):
    with pytest.raises(
        InvalidArgumentError, match="`--student` 'org/none' must be an image model .*: it is private or missing"
    ):
        load("org/none")


def test_a_student_without_a_processor(tmp_path):
    save_resnet(tmp_path / "bare", 3)
    (tmp_path / "bare" / "preprocessor_config.json").unlink()
    with pytest.raises(InvalidArgumentError, match="must be an image model with its image processor"):
        load(tmp_path / "bare")
