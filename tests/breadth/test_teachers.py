"""Every architecture of the installed transformers as a teacher: a few in `make test`, all in `make test-breadth`."""

import pytest
from breadth.architectures import Architecture, classifiers, encoders
from breadth.checks import check_teacher
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

CLASSIFIERS = {
    "image": ("beit", "convnext", "cvt", "dinov2", "mobilenet_v2", "resnet", "segformer", "siglip", "swin", "vit"),
    "text": (
        "albert",
        "bert",
        "deberta-v2",
        "distilbert",
        "electra",
        "gpt2",
        "llama",
        "modernbert",
        "qwen3",
        "roberta",
    ),
}
ENCODERS = ("bert", "clip", "convnextv2", "dinov3_vit", "mpnet", "siglip_vision_model", "xlm-roberta")
"""The most used of each family; they run in every test."""

REFUSED: dict[str, str] = {
    "imagegpt-classifier-image": "takes input_ids, not image rows",
    "shieldgemma2-classifier-image": "takes input_ids, not image rows",
}
"""What cannot be a teacher, with a part of the reason that is given."""

OPEN: dict[str, str] = {}
"""What fails without a reason that helps."""


def _marks(name: str, sampled: bool) -> list[pytest.MarkDecorator]:
    marks = [] if sampled else [pytest.mark.breadth]
    return [*marks, pytest.mark.xfail(reason=OPEN[name], strict=True)] if name in OPEN else marks


def _check(architecture: Architecture, folder) -> None:
    refusal = check_teacher(architecture, folder)
    expected = REFUSED.get(str(architecture))
    assert (refusal is None) == (expected is None), refusal
    assert expected is None or expected in str(refusal)


@pytest.mark.parametrize(
    "architecture",
    [
        pytest.param(
            architecture,
            id=str(architecture),
            marks=_marks(str(architecture), architecture.model_type in CLASSIFIERS[architecture.modality]),
        )
        for architecture in classifiers()
    ],
)
def test_every_classifier_is_a_teacher_or_refused_by_name(architecture: Architecture, tmp_path):
    _check(architecture, tmp_path)


@pytest.mark.parametrize(
    "model_type", [pytest.param(name, id=name, marks=_marks(name, name in ENCODERS)) for name in MODEL_MAPPING_NAMES]
)
def test_every_encoder_is_a_teacher_or_refused_by_name(model_type: str, tmp_path):
    architectures = encoders(model_type)
    if not architectures:
        pytest.skip("encodes neither images nor texts")
    for architecture in architectures:
        _check(architecture, tmp_path / architecture.modality)
