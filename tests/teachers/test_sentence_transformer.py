import logging

import pytest
import torch
from sentence_models import TEXTS, legacy, save_sentence_encoder, write
from tiny_models import tiny_bert, word_tokenizer
from transformers import AutoModel, AutoTokenizer

from hf_ctkd.errors import TeacherUnavailableError
from hf_ctkd.hub import folder_teachers, hub_teachers
from hf_ctkd.teachers import Teacher


def _features(folder, texts=TEXTS):
    teacher = Teacher.load(next(folder_teachers(folder)), "text")
    return teacher.outputs(teacher.collate(texts)).features


def _states(folder, text):
    """Of one text alone, so that there is no padding; cut at the 8 tokens of the folder's settings."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=8)
        return model(**inputs).last_hidden_state[0]


EXPECTED = {
    "cls": lambda states: states[0],
    "max": lambda states: states.max(0).values,
    "mean": lambda states: states.mean(0),
    "mean_sqrt_len_tokens": lambda states: states.sum(0) / len(states) ** 0.5,
    "weightedmean": lambda states: (
        (states * torch.arange(1, len(states) + 1)[:, None]).sum(0) / (len(states) * (len(states) + 1) / 2)
    ),
    "lasttoken": lambda states: states[-1],
}


@pytest.mark.parametrize("mode", EXPECTED)
@pytest.mark.parametrize("normalize", [False, True])
def test_features_are_pooled_as_the_repository_asks(tmp_path, mode, normalize):
    folder = save_sentence_encoder(tmp_path / "encoder", {"pooling_mode": mode}, normalize=normalize)
    expected = torch.stack([EXPECTED[mode](_states(folder, text)) for text in TEXTS])
    if normalize:
        expected = expected / expected.norm(dim=1, keepdim=True)
    assert torch.allclose(_features(folder), expected, atol=1e-5)


def test_switches_of_older_versions_put_vectors_side_by_side(tmp_path):
    folder = save_sentence_encoder(tmp_path / "encoder", legacy("cls_token", "mean_tokens"))
    states = [_states(folder, text) for text in TEXTS]
    expected = torch.stack([torch.cat([each[0], each.mean(0)]) for each in states])
    assert torch.allclose(_features(folder), expected, atol=1e-5)


def test_the_default_prompt_goes_before_every_text_and_no_other_does(tmp_path):
    prompts = {"query": "the red ", "document": "far "}
    for number, (name, prompt) in enumerate([("query", "the red "), (None, "")]):
        settings = {"prompts": prompts, "default_prompt_name": name}
        folder = save_sentence_encoder(tmp_path / str(number), legacy("mean_tokens"), settings=settings)
        expected = torch.stack([_states(folder, prompt + text).mean(0) for text in TEXTS])
        assert torch.allclose(_features(folder), expected, atol=1e-5)


def test_lower_case(tmp_path):
    folder = save_sentence_encoder(tmp_path / "encoder", legacy("mean_tokens"))
    write(folder / "sentence_bert_config.json", {"do_lower_case": True})
    assert torch.equal(_features(folder, ["A Red CAT"]), _features(folder, ["a red cat"]))
    plain = _features(folder, [("A red", "CAT")])
    assert torch.equal(plain, _features(folder, [("a red", "cat")]))


def test_modules_that_cannot_be_followed_are_named(tmp_path, caplog):
    folder = save_sentence_encoder(tmp_path / "encoder", legacy("cls_token"), normalize=True)
    kinds = ["Transformer", "Pooling", "Dense", "Normalize"]
    paths = ["", "1_Pooling", "2_Dense", "3_Normalize"]
    write(folder / "modules.json", [{"type": kind, "path": path} for kind, path in zip(kinds, paths, strict=True)])
    with caplog.at_level(logging.WARNING):
        features = _features(folder)
    assert "Modules after the pooling are left out: dense, normalize." in caplog.text
    assert torch.allclose(features[0], _states(folder, TEXTS[0])[0], atol=1e-5)
    write(folder / "modules.json", [{"type": "m.Transformer", "path": ""}, {"type": "m.CNN", "path": "1_CNN"}])
    with caplog.at_level(logging.WARNING):
        _features(folder)
    assert "names transformer, cnn: features are pooled as those of any encoder" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("modules.json", {"a": 1}, "its file modules.json must hold a list of modules"),
        ("modules.json", [1], "its file modules.json must hold a list of modules"),
        ("1_Pooling/config.json", [], "its file 1_Pooling/config.json must hold a JSON object"),
        ("1_Pooling/config.json", {"pooling_mode": "median"}, "1_Pooling/config.json asks for the pooling 'median'"),
    ],
)
def test_malformed_files_are_reasons_to_skip_it(tmp_path, name, content, message):
    folder = save_sentence_encoder(tmp_path / "encoder", legacy("mean_tokens"))
    write(folder / name, content)
    with pytest.raises(TeacherUnavailableError, match=message):
        _features(folder)


def test_the_pooling_belongs_to_the_digest_of_a_folder(tmp_path):
    folder = save_sentence_encoder(tmp_path / "encoder", legacy("mean_tokens"))
    before = next(folder_teachers(folder)).revision
    write(folder / "1_Pooling" / "config.json", legacy("cls_token"))
    assert next(folder_teachers(folder)).revision != before


def test_the_pooling_is_downloaded(hub, tmp_path):
    folder = save_sentence_encoder(tmp_path / "encoder", legacy("cls_token"), normalize=True)
    (folder / "onnx").mkdir()
    (folder / "onnx" / "config.json").write_text("{}")
    hub.add("org/encoder", folder)
    teacher = Teacher.load(next(hub_teachers("org/encoder")), "text")
    assert torch.equal(teacher.outputs(teacher.collate(TEXTS)).features, _features(folder))


def test_a_classifier_is_read_at_its_head(tmp_path):
    folder = save_sentence_encoder(tmp_path / "encoder", legacy("cls_token"), normalize=True)
    tiny_bert().save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    assert Teacher.load(next(folder_teachers(folder)), "text").modules is None
