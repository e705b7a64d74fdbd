import json

import pytest
import torch
from tiny_models import TINY, image_processor, save, word_tokenizer
from transformers import (
    BartConfig,
    BartModel,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    CanineConfig,
    CanineForSequenceClassification,
    CanineTokenizer,
    DeiTConfig,
    DeiTForImageClassificationWithTeacher,
    DPRConfig,
    DPRContextEncoder,
    DPRQuestionEncoder,
    PreTrainedModel,
    SiglipConfig,
    SiglipModel,
    T5Config,
    T5EncoderModel,
    T5Model,
    ViTConfig,
    ViTForImageClassification,
)
from transformers.integrations import is_deepspeed_zero3_enabled, set_hf_deepspeed_config, unset_hf_deepspeed_config

from hf_ctkd.errors import TeacherUnavailableError
from hf_ctkd.hub import folder_teachers, random_like
from hf_ctkd.records import TeacherCandidate
from hf_ctkd.teachers import Teacher
from hf_ctkd.teachers.pretrained import unpartitioned

VIT = {**TINY, "image_size": 16, "patch_size": 4}
TEXT = {**TINY, "vocab_size": 16, "pad_token_id": 0}


def without_architectures(candidate: TeacherCandidate, folder) -> TeacherCandidate:
    path = folder / "config.json"
    config = {key: value for key, value in json.loads(path.read_text()).items() if key != "architectures"}
    path.write_text(json.dumps(config))
    return next(folder_teachers(folder))


def loaded(folder, model: PreTrainedModel, modality="text") -> Teacher:
    processing_class = word_tokenizer() if modality == "text" else image_processor()
    return Teacher.load(save(folder, model, processing_class), modality)


@pytest.fixture
def zero3():
    """As under DeepSpeed ZeRO-3, which shares out the weights of every model that transformers makes."""

    class Configuration:
        def is_zero3(self):
            return True

    configuration = Configuration()
    set_hf_deepspeed_config(configuration)
    yield
    unset_hf_deepspeed_config()


def test_weights_are_shared_out_again_after_a_teacher(zero3):
    with pytest.raises(KeyError, match="in between"), unpartitioned():
        assert not is_deepspeed_zero3_enabled()
        raise KeyError("in between")
    assert is_deepspeed_zero3_enabled()


def test_nothing_is_undone_where_no_weights_are_shared_out():
    with unpartitioned():
        assert not is_deepspeed_zero3_enabled()


@pytest.mark.parametrize("drawn", [False, True])
def test_every_model_of_a_teacher_is_made_whole(zero3, tmp_path, monkeypatch, drawn):
    made, initialise = [], BertModel.__init__

    def noting(self, *args, **settings):
        made.append(is_deepspeed_zero3_enabled())
        initialise(self, *args, **settings)

    candidate = save(tmp_path, BertForSequenceClassification(BertConfig(**TEXT, num_labels=3)), word_tokenizer())
    monkeypatch.setattr(BertModel, "__init__", noting)
    Teacher.load(random_like(tmp_path) if drawn else candidate, "text")
    assert made == [False, False], "the one that is measured, and the one that is read"


def test_a_distilled_classifier_keeps_its_classes(tmp_path):
    model = DeiTForImageClassificationWithTeacher(DeiTConfig(**VIT, num_labels=3))
    teacher = loaded(tmp_path, model, "image")
    assert isinstance(teacher.model, DeiTForImageClassificationWithTeacher) and len(teacher.label_space) == 3


@pytest.mark.parametrize("family", [BertForSequenceClassification, BertModel])
def test_weights_tell_whether_a_model_without_architectures_has_a_head(tmp_path, family):
    candidate = save(tmp_path, family(BertConfig(**TEXT, num_labels=3)), word_tokenizer())
    teacher = Teacher.load(without_architectures(candidate, tmp_path), "text")
    assert isinstance(teacher.model, family)
    assert (teacher.label_space is not None) == (family is BertForSequenceClassification)


@pytest.mark.parametrize("family", [DPRContextEncoder, DPRQuestionEncoder, T5EncoderModel])
def test_an_encoder_is_loaded_by_its_own_class(tmp_path, family):
    t5 = T5Config(d_model=8, d_kv=4, d_ff=16, num_layers=2, num_heads=2, vocab_size=16)
    model = family(t5 if family is T5EncoderModel else DPRConfig(**TEXT))
    teacher = loaded(tmp_path, model)
    assert isinstance(teacher.model, family)
    outputs = teacher.outputs(teacher.collate(["red cat", "dog"]), layers=True)
    assert outputs.features.shape == (2, 8) and len(outputs.layers) == 3


@pytest.mark.parametrize(
    "model",
    [
        BartModel(BartConfig(d_model=8, vocab_size=16, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2,
                             decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16)),
        T5Model(T5Config(d_model=8, d_kv=4, d_ff=16, num_layers=2, num_heads=2, vocab_size=16)),
    ],
    ids=lambda model: type(model).__name__,
)  # fmt: skip
def test_of_an_encoder_decoder_without_a_head_the_encoder_is_read(tmp_path, model):
    teacher = loaded(tmp_path, model.eval())
    batch = teacher.collate(["red cat", "dog runs"])
    expected = model.get_encoder()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    torch.testing.assert_close(teacher.outputs(batch).features, expected.last_hidden_state.mean(1))


@pytest.mark.parametrize("random_weights", [False, True])
def test_an_encoder_that_has_no_auto_class_is_taken_out_of_its_model(tmp_path, random_weights):
    text = {**TEXT, "max_position_embeddings": 16, "bos_token_id": 2, "eos_token_id": 3}
    torch.manual_seed(5)  # other weights than those that the teacher draws
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=VIT)).eval()
    candidate = save(tmp_path, model, word_tokenizer())
    teacher = Teacher.load(random_like(str(tmp_path)) if random_weights else candidate, "text")
    assert type(teacher.model).__name__ == "SiglipTextModel"
    batch = teacher.collate(["red cat", "dog runs"])
    expected = model.text_model(batch["input_ids"], batch["attention_mask"]).last_hidden_state.mean(1)
    assert torch.allclose(teacher.outputs(batch).features, expected) != random_weights


def test_a_model_without_one_table_of_embeddings_loads(tmp_path):
    settings = {"max_position_embeddings": 64, "num_hash_buckets": 16, "num_hash_functions": 2, "num_labels": 3}
    model = CanineForSequenceClassification(CanineConfig(**TINY, **settings))
    teacher = Teacher.load(save(tmp_path, model, CanineTokenizer()), "text")
    assert teacher.collator.vocabulary is None
    assert teacher.outputs(teacher.collate(["a red cat", "a dog"])).logits.shape == (2, 3)


def test_a_classifier_of_the_other_modality_is_refused(tmp_path):
    candidate = save(tmp_path, ViTForImageClassification(ViTConfig(**VIT, num_labels=3)), word_tokenizer())
    with pytest.raises(TeacherUnavailableError, match="pixel_values, not text rows"):
        Teacher.load(candidate, "text")
