"""Every classifier of the installed transformers as a student: a few in `make test`, all in `make test-breadth`."""

import pytest
from breadth.architectures import Architecture, classifiers
from breadth.checks import check_student
from tiny_models import image_processor, save, tiny_bert, tiny_resnet, word_tokenizer

SAMPLE = {
    "image": ("convnext", "resnet", "swin", "vit"),
    "text": ("bert", "distilbert", "gpt2", "modernbert", "roberta"),
}

REFUSED: dict[str, str] = {
    "pvt-classifier-image": "`id2label` must name the model's classes, got None",
    "siglip2-classifier-image": "must hold `input_ids` or `pixel_values` [batch, channels, height, width]",
}
"""What cannot be a student, with a part of the reason that is given."""

OPEN: dict[str, str] = {
    "imagegpt-classifier-image": "takes tokens of colours; the error is that of transformers",
    "shieldgemma2-classifier-image": "takes a text beside the image; the error is that of transformers",
    "reformer-classifier-text": "takes lengths of whole chunks in training; the error is that of transformers",
    "qwen2-classifier-text": "AutoTokenizer splits the words of the test's tokenizer by the rules of Qwen",
    "qwen3_5-classifier-text": "AutoTokenizer splits the words of the test's tokenizer by the rules of Qwen",
}
"""What fails without a reason that helps."""


def _marks(architecture: Architecture) -> list[pytest.MarkDecorator]:
    marks = [] if architecture.model_type in SAMPLE[architecture.modality] else [pytest.mark.breadth]
    name = str(architecture)
    return [*marks, pytest.mark.xfail(reason=OPEN[name], strict=True)] if name in OPEN else marks


@pytest.fixture(scope="session")
def teachers(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("teachers")
    save(folder / "image", tiny_resnet(seed=7), image_processor())
    save(folder / "text", tiny_bert(), word_tokenizer())
    return {"image": str(folder / "image"), "text": str(folder / "text")}


@pytest.mark.parametrize(
    "architecture",
    [pytest.param(architecture, id=str(architecture), marks=_marks(architecture)) for architecture in classifiers()],
)
def test_every_classifier_is_a_student_or_refused_by_name(architecture: Architecture, teachers, tmp_path):
    refusal = check_student(architecture, tmp_path, teachers[architecture.modality])
    expected = REFUSED.get(str(architecture))
    assert (refusal is None) == (expected is None), refusal
    assert expected is None or expected in str(refusal)
