"""Teachers with weights of eight bits, by torchao on the CPU (`pip install torchao`)."""

from dataclasses import replace

import pytest
import torch
from tiny_models import save, text_rows, tiny_bert, word_tokenizer
from transformers import TorchAoConfig

from hf_ctkd.data import TargetRows
from hf_ctkd.selection import TeacherSelector
from hf_ctkd.teachers import LoadOptions, Teacher, compute_outputs

pytestmark = pytest.mark.filterwarnings("ignore")  # of torchao about the extensions that a machine lacks


@pytest.fixture
def eight_bits():
    quantization = pytest.importorskip("torchao.quantization")
    return LoadOptions(quantization_config=TorchAoConfig(quantization.Int8WeightOnlyConfig()))


@pytest.fixture
def teacher(tmp_path):
    return save(tmp_path / "teacher", tiny_bert(hidden_size=64), word_tokenizer())


@pytest.fixture
def rows():
    words = ("red", "green", "big", "small")
    texts = [f"{word} {animal}" for word in words for animal in ("cat", "dog", "fox")]
    return text_rows(texts, [row % 3 for row in range(12)])


def test_outputs_are_nearly_those_of_the_weights_in_full(teacher, rows, eight_bits, tmp_path):
    rows = TargetRows.of(rows)
    exact, quantised = (Teacher.load(teacher, "text", options=options) for options in (LoadOptions(), eight_bits))
    assert quantised.candidate.parameters == exact.candidate.parameters
    expected, outputs = (
        compute_outputs(one, rows, cache_dir=tmp_path / "cache", progress=False).select(torch.arange(12))
        for one in (exact, quantised)
    )
    error = (outputs.features - expected.features).norm() / expected.features.norm()
    assert 0 < error < 0.05, "stored apart, and as near as eight bits are"


def test_a_ranking_keeps_their_scores_apart(teacher, rows, eight_bits, tmp_path):
    random = replace(teacher, random_weights=True)
    selector = TeacherSelector("nearest_neighbour", metrics=(), cache_dir=tmp_path / "cache", progress=False)
    exact = selector.rank([teacher, random], rows)
    quantised = replace(selector, options=eight_bits).rank([teacher, random], rows)
    assert len(exact.scored) == len(quantised.scored) == 2
    assert len(list((tmp_path / "cache" / "scores").glob("*.json"))) == 4
