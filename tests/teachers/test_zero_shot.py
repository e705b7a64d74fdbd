import copy
from functools import partial

import pytest
import torch
from breadth.tiny_configs import tiny_config
from tiny_models import image_processor, save, word_tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForZeroShotImageClassification, PreTrainedModel, PreTrainedTokenizerFast

from hf_ctkd.data import TargetRows
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.hub import folder_teachers, random_like
from hf_ctkd.records import ZERO_SHOT
from hf_ctkd.teachers import LoadOptions, Teacher, compute_outputs
from hf_ctkd.teachers.zero_shot import TEMPLATE, ZeroShotClassifier
from hf_ctkd.types import LabelSpace

TARGET = LabelSpace(("red", "green cat", "blue"))
TOKENS = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}


def zero_shot_model(model_type: str) -> PreTrainedModel:
    torch.manual_seed(0)
    settings = {"projection_dim": 640} if model_type == "align" else {}  # as wide as its image encoder
    return AutoModelForZeroShotImageClassification.from_config(tiny_config(model_type, **settings)).eval()


def tokenizer() -> PreTrainedTokenizerFast:
    """CLIP reads a text where it ends."""
    ending = word_tokenizer(model_max_length=16)
    ending.backend_tokenizer.post_processor = TemplateProcessing(single="$A [SEP]", special_tokens=[("[SEP]", 3)])
    return ending


def saved(folder, model_type: str = "clip", model: PreTrainedModel | None = None):
    candidate = save(folder, model or zero_shot_model(model_type), image_processor(64))
    tokenizer().save_pretrained(folder)
    return next(folder_teachers(candidate.model_id))


@pytest.mark.parametrize(
    "model_type", ["align", "altclip", "blip", "chinese_clip", "clip", "clipseg", "metaclip_2", "siglip", "tipsv2"]
)
def test_its_logits_are_those_of_the_model_for_the_names_of_the_target(tmp_path, images, model_type):
    model = zero_shot_model(model_type)
    teacher = Teacher.load(saved(tmp_path, model_type), "image", target=TARGET)
    batch = teacher.collate(TargetRows.of(images).inputs([0, 1, 2]))
    padding = {"padding": "max_length", "max_length": 16} if model_type == "siglip" else {"padding": True}
    texts = tokenizer()([f"a photo of {name}" for name in TARGET.names], return_tensors="pt", **padding)
    with torch.no_grad():
        expected = model(**{name: texts[name] for name in ("input_ids", "attention_mask")}, **batch)
    outputs = teacher.outputs(batch, layers=True)
    # The embedding of an image by ALIGN with random weights may be zero, which has no length.
    close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4, equal_nan=model_type == "align")
    close(outputs.logits, expected.logits_per_image)
    close(outputs.features, expected.image_embeds)
    close(teacher.reader.classify(outputs.features), outputs.logits)
    assert teacher.label_space == TARGET and outputs.layers and len(outputs.logits[0].unique()) == 3


def test_without_names_or_a_target_its_image_encoder_is_read(tmp_path, images, caplog):
    candidate = saved(tmp_path)
    batch = Teacher.load(candidate, "image").collate(TargetRows.of(images).inputs([0, 1]))
    with torch.no_grad():
        expected = zero_shot_model("clip").vision_model(**batch).pooler_output
    nothing = {"no target": None, "numbers": LabelSpace(("LABEL_0", "LABEL_1")), "one output": LabelSpace(("score",))}
    for target in nothing.values():
        teacher = Teacher.load(candidate, "image", target=target)
        outputs = teacher.outputs(batch)
        torch.testing.assert_close(outputs.features, expected)
        assert outputs.logits is None and teacher.label_space is None and teacher.candidate.label_names is None
    assert caplog.text.count("'LABEL_0', describe nothing: zero-shot teachers are read as image encoders") == 1


def test_without_a_tokenizer_its_image_encoder_is_read(tmp_path, caplog):
    candidate = save(tmp_path, zero_shot_model("clip"), image_processor(64))
    teacher = Teacher.load(candidate, "image", target=TARGET)
    assert teacher.label_space is None and not isinstance(teacher.model, ZeroShotClassifier)
    assert "A zero-shot teacher has no tokenizer" in caplog.text


def test_the_candidate_says_which_classes_it_was_given(tmp_path):
    model = zero_shot_model("clip")
    candidate = Teacher.load(saved(tmp_path, model=model), "image", target=TARGET).candidate
    assert (candidate.task, candidate.label_names) == (ZERO_SHOT, TARGET.names)
    assert candidate.parameters == model.num_parameters()


def test_classes_and_template_shape_what_is_stored(tmp_path, images):
    candidate, rows = saved(tmp_path / "clip"), TargetRows.of(images)

    def logits(target=TARGET, template=TEMPLATE):
        teacher = Teacher.load(candidate, "image", target=target, options=LoadOptions(zero_shot_template=template))
        outputs = compute_outputs(teacher, rows, cache_dir=tmp_path / "cache", progress=False)
        return outputs.select(torch.arange(len(rows))).logits

    first = logits()
    assert not torch.equal(logits(template="a {} house"), first)
    reordered = logits(target=LabelSpace(TARGET.names[::-1]))
    torch.testing.assert_close(reordered, first.flip(1))
    assert torch.equal(logits(), first)


def test_a_control_has_the_same_classes(tmp_path):
    saved(tmp_path)
    teacher = Teacher.load(random_like(str(tmp_path)), "image", target=TARGET)
    assert teacher.label_space == TARGET and isinstance(teacher.model, ZeroShotClassifier)


def test_weights_that_are_missing_leave_the_image_encoder(tmp_path):
    model = copy.deepcopy(zero_shot_model("clip"))
    state = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("vision_model")}
    model.save_pretrained(tmp_path, state_dict=state)
    image_processor(64).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    assert Teacher.load(next(folder_teachers(tmp_path)), "image", target=TARGET).label_space is None


def test_in_a_process_of_its_own(tmp_path):
    candidate = saved(tmp_path)
    options = LoadOptions(timeout=300, zero_shot_template="{}")
    assert Teacher.load(candidate, "image", target=TARGET, options=options).model.config.texts == TARGET.names


@pytest.mark.parametrize("template", ["a photo", "{} or {}"])
def test_a_template_holds_one_name(template):
    with pytest.raises(InvalidArgumentError, match="`zero_shot_template` must hold {} once.*as in 'a photo of {}'"):
        LoadOptions(zero_shot_template=template)
