import pytest
import torch
from transformers import AutoModel, BertConfig, BertModel, BertTokenizerFast

from hf_ctkd.costs import SemanticCost
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.testing import check_cost
from hf_ctkd.types import LabelSpace, ModelOutputs

NOTHING = ModelOutputs(features=torch.zeros(0, 1)), torch.zeros(0, dtype=torch.long)


def test_holds_the_contract():
    check_cost(SemanticCost())


def test_equal_names_cost_nothing_however_they_are_written():
    teacher = LabelSpace(("n02123045 tabbyCat", "race_car"))
    matrix = SemanticCost().matrix(*NOTHING, target=LabelSpace(("Tabby cat", "Race car")), teacher=teacher)
    assert torch.allclose(matrix.diagonal(), torch.zeros(2), atol=1e-6) and float(matrix[0, 1]) > 0.8


def test_uses_the_embedding_that_it_is_given():
    def embed(names):
        return torch.tensor([[1.0, 0], [0, 1], [1, 1], [-1, 0]])[: len(names)]

    matrix = SemanticCost(embed=embed).matrix(*NOTHING, target=LabelSpace(("c", "d")), teacher=LabelSpace(("a", "b")))
    half = 1 - 0.5**0.5
    assert torch.allclose(matrix, torch.tensor([[half, 1.0], [half, 1.0]]))


def test_a_named_encoder_is_mean_pooled_over_real_tokens(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "tabby", "cat", "dog", "oak"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    BertModel(config).save_pretrained(tmp_path)
    model = AutoModel.from_pretrained(tmp_path).eval()
    matrix = SemanticCost(model=str(tmp_path)).matrix(
        *NOTHING, target=LabelSpace(("dog",)), teacher=LabelSpace(("tabby cat", "oak"))
    )
    with torch.no_grad():
        long, dog = (model(torch.tensor([ids])).last_hidden_state[0].mean(0) for ids in ([2, 5, 6, 3], [2, 7, 3]))
    expected = 1 - float(torch.cosine_similarity(long, dog, dim=0))
    assert float(matrix[0, 0]) == pytest.approx(min(max(expected, 0), 1), abs=1e-4)


def test_bad_input_is_named():
    good, poor = LabelSpace(("cat", "dog")), LabelSpace(("LABEL_0", "LABEL_1"))
    with pytest.raises(InvalidArgumentError, match="`embed` and `model` exclude each other"):
        SemanticCost(embed=len, model="org/encoder")
    with pytest.raises(InvalidArgumentError, match="`teacher` must hold"):
        SemanticCost().matrix(*NOTHING, target=good)
    with pytest.raises(InvalidArgumentError, match="`teacher` has label names that say nothing, such as 'LABEL_0'"):
        SemanticCost().matrix(*NOTHING, target=good, teacher=poor)
    with pytest.raises(InvalidArgumentError, match="`target` has label names"):
        SemanticCost().matrix(*NOTHING, target=poor, teacher=good)
    with pytest.raises(InvalidArgumentError, match="`embed` must give one finite vector a name"):
        SemanticCost(embed=lambda names: torch.zeros(1, 2)).matrix(*NOTHING, target=good, teacher=good)
