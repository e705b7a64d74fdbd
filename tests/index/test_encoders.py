import numpy as np
import pytest
import torch
from tiny_models import save, tiny_bert, word_tokenizer
from transformers import AutoModel, BertConfig, BertModel, BertTokenizerFast

from hf_ctkd.errors import InvalidArgumentError, MissingExtraError
from hf_ctkd.index import SentenceEncoder, SpellingEncoder, WordLlamaEncoder, encoder_named, encoders
from hf_ctkd.index.encoders import unit_vectors, unrelated_similarity


def test_spelling_counts_inflections_and_shared_words_only():
    names = ["cat", "cats", "tabby cat", "truck", "", "猫"]
    vectors = unit_vectors(SpellingEncoder(), names)
    similarity = vectors @ vectors.T
    unrelated = unrelated_similarity(SpellingEncoder())
    assert 0.05 < unrelated < 0.35
    assert min(similarity[0, 1], similarity[0, 2]) > unrelated + 0.1
    assert similarity[0, 3] < unrelated
    assert (vectors[4] == 0).all() and np.allclose(np.linalg.norm(vectors[[0, 1, 2, 3, 5]], axis=1), 1)


def test_an_encoder_without_one_finite_vector_a_name_is_refused():
    class Broken(SpellingEncoder):
        def __call__(self, names: list[str]) -> np.ndarray:
            return np.full((len(names), 2), np.nan)

    with pytest.raises(InvalidArgumentError, match=r"`encoder` must give one finite vector a name, got shape \(1, 2\)"):
        unit_vectors(Broken(), ["cat"])


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wordllama", None)
    with pytest.raises(MissingExtraError, match=r'`pip install "hf_ctkd\[wordllama\]"`'):
        WordLlamaEncoder()(["cat"])


def test_a_sentence_encoder_is_mean_pooled_in_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(encoders, "_BATCH", 2)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "tabby", "cat", "dog"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    config = BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    BertModel(config).save_pretrained(tmp_path)
    vectors = SentenceEncoder(str(tmp_path))(["tabby cat", "dog", "cat"])
    model = AutoModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        for vector, ids in zip(vectors, ([2, 5, 6, 3], [2, 7, 3], [2, 6, 3]), strict=True):
            expected = model(torch.tensor([ids])).last_hidden_state[0].mean(0).numpy()
            np.testing.assert_allclose(vector, expected, atol=1e-5)


def test_encoders_go_by_name():
    assert encoder_named("spelling") == SpellingEncoder()
    assert encoder_named("wordllama") == WordLlamaEncoder()
    assert encoder_named("org/encoder") == SentenceEncoder("org/encoder")
    assert len({encoder_named(name).name for name in ("spelling", "wordllama", "org/encoder")}) == 3


@pytest.mark.parametrize("broken", ["no such name", "empty folder", "cut weights", "unknown architecture"])
def test_an_encoder_that_cannot_be_loaded_is_named(tmp_path, broken):
    if broken == "no such name":
        name = "-inf"
    else:
        save(tmp_path, tiny_bert(), word_tokenizer())
        name = str(tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    if broken == "empty folder":
        for path in tmp_path.iterdir():
            path.unlink()
    if broken == "cut weights":
        weights.write_bytes(weights.read_bytes()[:200])
    if broken == "unknown architecture":
        config.write_text('{"model_type": "nothing"}')
    with pytest.raises(
        InvalidArgumentError, match=r"^`encoder` must be spelling, wordllama, or the id or folder .*, got"
    ):
        SentenceEncoder(name)(["cat"])
