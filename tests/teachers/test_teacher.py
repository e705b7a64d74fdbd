import dataclasses
import inspect
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import TINY, image_processor, save, tiny_bert, tiny_resnet, word_tokenizer
from transformers import (
    AutoModelForImageClassification,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    BitsAndBytesConfig,
    CLIPConfig,
    CLIPModel,
    GPT2Config,
    GPT2ForSequenceClassification,
    ViTConfig,
    ViTModel,
)
from transformers.utils import logging

from hf_ctkd.data import TargetRows
from hf_ctkd.errors import InvalidArgumentError, ProblemCode, TeacherUnavailableError
from hf_ctkd.hub import folder_teachers
from hf_ctkd.records import TeacherCandidate
from hf_ctkd.teachers import LoadOptions, Teacher, pretrained

VIT = {**TINY, "image_size": 16, "patch_size": 4}


def change(candidate, name, edit):
    """Edit one file of a teacher, and list it again."""
    path = f"{candidate.model_id}/{name}"
    if name.endswith(".safetensors"):
        tensors = load_file(path)
        edit(tensors)
        save_file(tensors, path, metadata={"format": "pt"})
    else:
        with open(path) as file:
            values = json.load(file)
        edit(values)
        with open(path, "w") as file:
            json.dump(values, file)
    return next(folder_teachers(candidate.model_id))


def refused(candidate, modality="image", **options) -> str:
    with pytest.raises(TeacherUnavailableError) as error:
        Teacher.load(candidate, modality, options=LoadOptions(**options))
    return str(error.value)


def test_an_image_classifier_says_what_plain_transformers_says(resnet, images):
    teacher = Teacher.load(resnet, "image")
    batch = teacher.collate(TargetRows.of(images).inputs(range(4)))
    outputs = teacher.outputs(batch)
    plain = AutoModelForImageClassification.from_pretrained(resnet.model_id).eval()
    with torch.no_grad():
        torch.testing.assert_close(outputs.logits, plain(**batch).logits)
    assert outputs.features.shape == (4, 16)
    assert teacher.label_space.names == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert teacher.candidate.parameters == plain.num_parameters()
    assert not outputs.logits.requires_grad
    assert not teacher.model.training
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())
    assert len(teacher.outputs(batch, hidden=[-1]).hidden) == 1


def test_a_text_classifier_cuts_long_texts(bert):
    teacher = Teacher.load(bert, "text")
    outputs = teacher.outputs(teacher.collate(["red cat", "dog " * 100]))
    assert outputs.logits.shape == (2, 3)


def test_gpt2_without_padding_token(tmp_path):
    config = GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=16, num_labels=3, bos_token_id=3, eos_token_id=3)
    tokenizer = word_tokenizer(pad_token=None, eos_token="[SEP]")
    teacher = Teacher.load(save(tmp_path, GPT2ForSequenceClassification(config), tokenizer), "text")
    together = teacher.outputs(teacher.collate(["red cat runs far", "dog"]))
    alone = teacher.outputs(teacher.collate(["dog"]))
    torch.testing.assert_close(together.logits[1:], alone.logits)
    torch.testing.assert_close(together.features[1:], alone.features)


def test_headless_encoders(tmp_path):
    masked = BertForMaskedLM(BertConfig(**TINY, vocab_size=16))
    for name, model in (("bert", BertModel(BertConfig(**TINY, vocab_size=16))), ("masked", masked)):
        teacher = Teacher.load(save(tmp_path / name, model, word_tokenizer()), "text")
        outputs = teacher.outputs(teacher.collate(["red cat", "dog"]))
        assert (outputs.logits, teacher.label_space, outputs.features.shape) == (None, None, (2, 8))
    vit = save(tmp_path / "vit", ViTModel(ViTConfig(**VIT)), image_processor())
    assert Teacher.load(vit, "image").reader.trust_pooler
    vit = change(
        vit, "model.safetensors", lambda tensors: [tensors.pop(name) for name in list(tensors) if "pooler" in name]
    )
    assert not Teacher.load(vit, "image").reader.trust_pooler


def test_either_side_of_clip(tmp_path, images):
    ids = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    config = CLIPConfig(vision_config=VIT, text_config={**TINY, "vocab_size": 16, **ids}, projection_dim=4)
    model = CLIPModel(config).eval()
    candidate = save(tmp_path, model, image_processor())
    word_tokenizer().save_pretrained(tmp_path)
    candidate = next(folder_teachers(tmp_path))
    vision = Teacher.load(candidate, "image")
    batch = vision.collate(TargetRows.of(images).inputs([0, 1]))
    with torch.no_grad():
        expected = model.vision_model(**batch).pooler_output
    torch.testing.assert_close(vision.outputs(batch).features, expected)
    text = Teacher.load(candidate, "text")
    assert text.outputs(text.collate(["red cat", "dog"])).features.shape == (2, 8)


def test_the_wrong_modality(resnet, bert):
    assert "takes pixel_values, not text rows" in refused(resnet, "text")
    assert "takes input_ids, not image rows" in refused(bert, "image")


def test_no_processor(tmp_path):
    assert (
        refused(save(tmp_path / "a", tiny_resnet()), "image")
        == "cannot be loaded: no image processor (preprocessor_config.json) in a"
    )
    assert refused(save(tmp_path / "b", tiny_bert()), "text") == "cannot be loaded: no tokenizer with a vocabulary in b"


def test_a_reason_says_nothing_of_where_the_cache_lies(hub, resnet):
    files = {path.name: path.read_bytes() for path in Path(resnet.model_id).iterdir()}
    nonsense = b'{"image_processor_type": "Nonsense"}'
    for broken in ({"preprocessor_config.json": nonsense}, {"config.json": b"{}"}):
        reason = refused(TeacherCandidate("org/broken", hub.add("org/broken", {**files, **broken})))
        assert "cannot be loaded: " in reason and "org/broken" in reason
        assert "snapshots" not in reason and os.environ["HF_HOME"] not in reason


def test_weights_that_are_not_numbers(resnet):
    def poison(tensors):
        tensors["classifier.1.weight"][0, 0] = float("nan")

    assert "'classifier.1.weight' holds NaN or infinity" in refused(change(resnet, "model.safetensors", poison))

    def infinite(tensors):
        tensors["classifier.1.weight"][0, 0] = float("inf")

    assert "weights are not finite" in refused(change(resnet, "model.safetensors", infinite))


def test_missing_head_weights(resnet):
    candidate = change(resnet, "model.safetensors", lambda tensors: tensors.pop("classifier.1.weight"))
    assert "weights are incomplete: 1 tensors are missing, such as 'classifier.1.weight'" in refused(candidate)


def test_pickles_only_by_name(tmp_path, resnet):
    folder = tmp_path / "resnet"
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    candidate = next(folder_teachers(folder))
    assert "only pickle weights" in refused(candidate)
    assert Teacher.load(candidate, "image", options=LoadOptions(allow_pickle=True)).label_space is not None


@pytest.mark.parametrize(
    "edit",
    [
        {"model_type": "no-such-model"},
        {"hidden_sizes": "many"},
        {"num_channels": None},
        {"layer_type": "nonsense"},
        {"hidden_act": "nonsense"},
    ],
)
def test_a_broken_configuration(resnet, edit):
    assert "cannot be loaded: " in refused(change(resnet, "config.json", lambda values: values.update(edit)))


def test_weights_of_other_shapes_than_the_configuration_asks_for_are_named(resnet):
    reason = refused(change(resnet, "config.json", lambda values: values.update(hidden_sizes=[8, 99])))
    assert "its weights do not fit its configuration: 21 tensors have another shape, such as 'classifier.1" in reason


CODE = b"""
from transformers import ResNetConfig, ResNetForImageClassification

class OwnConfig(ResNetConfig):
    model_type = "own_resnet"

class OwnForImageClassification(ResNetForImageClassification):
    config_class = OwnConfig
"""


def test_code_that_a_repository_brings_along_runs_only_where_it_is_trusted(hub, resnet):
    auto = {"AutoConfig": "own.OwnConfig", "AutoModelForImageClassification": "own.OwnForImageClassification"}
    architectures = ["OwnForImageClassification"]
    change(
        resnet,
        "config.json",
        lambda values: values.update(model_type="own_resnet", auto_map=auto, architectures=architectures),
    )
    files = {path.name: path.read_bytes() for path in Path(resnet.model_id).iterdir()}
    candidate = TeacherCandidate("org/own", hub.add("org/own", {**files, "own.py": CODE}))
    assert "trust_remote_code=True" in refused(candidate)
    assert not hub.seen("own.py")
    teacher = Teacher.load(candidate, "image", options=LoadOptions(trust_remote_code=True))
    assert type(teacher.model).__name__ == "OwnForImageClassification"
    assert teacher.label_space is not None


def test_a_broken_tokenizer(bert):
    candidate = change(bert, "tokenizer.json", lambda values: values["model"].update(type="Nonsense"))
    assert "tokenizer is malformed" in refused(candidate, "text")


def test_a_tokenizer_beyond_the_models_vocabulary(tmp_path):
    teacher = Teacher.load(save(tmp_path, tiny_bert(vocab_size=8), word_tokenizer()), "text")
    with pytest.raises(TeacherUnavailableError, match="gives token 15, but its model knows 8 tokens"):
        teacher.collate(["near"])


def test_a_known_problem_is_the_reason(resnet):
    assert refused(dataclasses.replace(resnet, problem="it is gated.")) == "it is gated."
    assert refused(dataclasses.replace(resnet, problem="it is gated."), allow_pickle=True) == "it is gated."


def test_oversized_gone_or_changed(resnet):
    assert "more than `max_bytes` 10" in refused(resnet, max_bytes=10)
    assert "folder is gone" in refused(TeacherCandidate("nowhere/at/all", "abc", source="folder"))
    change(resnet, "config.json", lambda values: values.update(hidden_act="gelu"))
    assert "files have changed" in refused(resnet)


def test_random_weights_are_seeded_and_touch_no_generator(resnet):
    candidate = dataclasses.replace(resnet, random_weights=True)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, again = (Teacher.load(candidate, "image") for _ in range(2))
    other = Teacher.load(candidate, "image", options=LoadOptions(seed=1))
    assert torch.rand(1) == expected
    weight = "classifier.1.weight"
    trained = Teacher.load(resnet, "image")
    first, again, other, trained = (teacher.model.state_dict()[weight] for teacher in (first, again, other, trained))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, trained)


def test_label_names_that_stand_twice_are_told_apart(resnet):
    candidate = change(resnet, "config.json", lambda values: values.update(id2label={"0": "a", "1": "a", "2": "b"}))
    assert Teacher.load(candidate, "image").label_space.names == ("a", "a (1)", "b")


def test_half_precision(resnet, images):
    teacher = Teacher.load(resnet, "image", options=LoadOptions(dtype=torch.bfloat16))
    assert teacher.model.dtype == torch.bfloat16
    assert teacher.outputs(teacher.collate(TargetRows.of(images).inputs([0]))).logits.shape == (1, 3)


def test_a_quantisation_is_one_of_transformers():
    with pytest.raises(InvalidArgumentError, match="must be a configuration of transformers.*got '4bit'"):
        inspect.unwrap(LoadOptions.__init__)(object.__new__(LoadOptions), quantization_config="4bit")


def test_a_quantised_teacher_is_loaded_onto_its_device(resnet, monkeypatch):
    """It is not moved afterwards, which some packages refuse."""
    asked, from_pretrained = {}, AutoModelForImageClassification.from_pretrained

    def recorded(folder, *, quantization_config, device_map, **settings):
        asked.update(quantization_config=quantization_config, device_map=device_map)
        return from_pretrained(folder, **settings)

    monkeypatch.setattr(AutoModelForImageClassification, "from_pretrained", recorded)
    options = LoadOptions(quantization_config=BitsAndBytesConfig(load_in_8bit=True))
    Teacher.load(resnet, "image", options=options)
    assert asked == {"quantization_config": options.quantization_config, "device_map": "cpu"}


def test_quantised_weights_need_less_memory_but_random_ones_do_not(resnet, monkeypatch):
    sizes, from_pretrained = [], AutoModelForImageClassification.from_pretrained

    def unquantised(folder, *, quantization_config, device_map, **settings):
        return from_pretrained(folder, **settings)

    monkeypatch.setattr(AutoModelForImageClassification, "from_pretrained", unquantised)
    monkeypatch.setattr(pretrained, "check_memory", sizes.append)
    options = LoadOptions(quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    for candidate in (resnet, dataclasses.replace(resnet, random_weights=True)):
        parameters = Teacher.load(candidate, "image", options=options).candidate.parameters
    assert sizes == [parameters // 2, 4 * parameters]


def test_loading_says_nothing_and_leaves_the_logging_as_it_was(resnet, capfd):
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    Teacher.load(resnet, "image")
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_the_token_is_not_printed():
    assert "secret" not in repr(LoadOptions(token="secret"))


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 1e20])
def test_a_limit_that_is_no_time(seconds):
    with pytest.raises(InvalidArgumentError, match="`timeout` must be a positive number of seconds, at most .*, got"):
        LoadOptions(timeout=seconds)


@pytest.mark.slow
def test_a_model_that_ends_its_process_costs_itself_alone(tmp_path):
    auto = {"AutoConfig": "own.OwnConfig", "AutoModelForImageClassification": "own.OwnForImageClassification"}
    values = {"model_type": "own_resnet", "auto_map": auto, "architectures": ["OwnForImageClassification"]}
    candidate = save(tmp_path / "bad", tiny_resnet(), image_processor())
    (tmp_path / "bad" / "own.py").write_text(f"import os\n{CODE.decode()}\nos._exit(1)\n")
    candidate = change(candidate, "config.json", lambda config: config.update(values))
    options = LoadOptions(timeout=120, trust_remote_code=True)
    with pytest.raises(TeacherUnavailableError) as error:
        Teacher.load(candidate, "image", options=options)
    assert error.value.code is ProblemCode.CRASHED
    good = save(tmp_path / "good", tiny_resnet(), image_processor())
    assert Teacher.load(good, "image", options=LoadOptions(timeout=120)).label_space is not None


def test_a_trial_has_the_reason_of_loading(resnet, bert):
    options = LoadOptions(timeout=120)
    with pytest.raises(TeacherUnavailableError, match="^takes input_ids, not image rows$") as error:
        Teacher.load(bert, "image", options=options)
    assert error.value.code is ProblemCode.INCOMPATIBLE
    assert Teacher.load(bert, "text", options=options).label_space is not None
    bad = change(resnet, "preprocessor_config.json", lambda values: values.update(image_mean=[]))
    with pytest.raises(TeacherUnavailableError, match="^cannot be run: mean must have 3 elements"):
        Teacher.load(bad, "image", options=options)
