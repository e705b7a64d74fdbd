"""A student that others could not load, or that is of no use to them, is refused in one line."""

from dataclasses import replace

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from hf_ctkd.cards.loading import check_loads
from hf_ctkd.errors import PublishingError


def refusal(folder, record) -> str:
    with pytest.raises(PublishingError) as error:
        check_loads(folder, record)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def change_weights(folder):
    def change(function):
        path = folder / "model.safetensors"
        tensors = load_file(path)
        function(tensors)
        save_file(tensors, path, metadata={"format": "pt"})

    return change


def test_a_student_as_it_was_saved(folder, pets_record):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    check_loads(folder, pets_record)
    assert torch.equal(torch.rand(3), expected)
    check_loads(folder, replace(pets_record, task=replace(pets_record.task, auto_class=None)))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(folder, pets_record, change_weights, value):
    change_weights(lambda tensors: tensors["classifier.1.weight"].fill_(value))
    assert refusal(folder, pets_record) == (
        f"The weights in {folder} are not finite: 'classifier.1.weight' holds NaN or infinity. "
        "Train the student again with a lower learning rate."
    )


def test_weights_that_are_missing_or_foreign(folder, pets_record, change_weights):
    change_weights(lambda tensors: tensors.update(head=torch.zeros(2)))
    assert "hold tensors that the model does not have: 'head'. Save the student again" in refusal(folder, pets_record)
    change_weights(lambda tensors: [tensors.pop(name) for name in ("head", "classifier.1.bias", "classifier.1.weight")])
    assert "lack tensors of the model: 'classifier.1.bias' and 1 more. Save" in refusal(folder, pets_record)


def test_weights_of_another_shape_or_model(folder, pets_record, change_weights):
    change_weights(lambda tensors: tensors.update({"classifier.1.bias": torch.zeros(7)}))
    assert "AutoModelForImageClassification cannot load the student in" in refusal(folder, pets_record)
    tiny.text_model().save_pretrained(folder)
    assert "AutoModelForImageClassification cannot load the student in" in refusal(folder, pets_record)


def test_a_processor_that_cannot_be_loaded(folder, pets_record):
    (folder / "preprocessor_config.json").write_text('{"image_processor_type": "NoSuchProcessor"}')
    assert f"The image processor in {folder} cannot be loaded: " in refusal(folder, pets_record)


@pytest.mark.parametrize("name", ["AutoModelForNothing", "pipeline", "os.system", "BertTokenizer"])
def test_a_class_that_is_no_model_of_transformers(folder, pets_record, name):
    record = replace(pets_record, task=replace(pets_record.task, auto_class=name))
    assert f"distillation.json says that {name!r} loads the student, but transformers has no such" in refusal(
        folder, record
    )
