"""Tiny real models in folders, and rows for them."""

import pytest
from datasets import Dataset
from tiny_models import WORDS, image_processor, image_rows, png, save, text_rows, tiny_bert, tiny_resnet, word_tokenizer

from hf_ctkd.data import TargetRows
from hf_ctkd.records import TeacherCandidate
from hf_ctkd.teachers import Teacher


@pytest.fixture
def resnet(tmp_path) -> TeacherCandidate:
    return save(tmp_path / "resnet", tiny_resnet(seed=7), image_processor())


@pytest.fixture
def bert(tmp_path) -> TeacherCandidate:
    return save(tmp_path / "bert", tiny_bert(), word_tokenizer())


@pytest.fixture
def images() -> Dataset:
    return image_rows([png(row) for row in range(12)], [row % 3 for row in range(12)])


@pytest.fixture
def texts() -> Dataset:
    words = WORDS[5:]
    rows = [" ".join(words[(row + step) % len(words)] for step in range(1 + row % 5)) for row in range(12)]
    return text_rows([f"{text} {words[row % 11]}" for row, text in enumerate(rows)], [row % 3 for row in range(12)])


@pytest.fixture
def teacher(resnet) -> Teacher:
    return Teacher.load(resnet, "image")


@pytest.fixture
def rows(images) -> TargetRows:
    return TargetRows.of(images)


@pytest.fixture
def passes(monkeypatch):
    """Rows of every forward pass, by teacher."""
    seen = []
    plain = Teacher.outputs

    def counted(self, batch, *arguments, **settings):
        seen.append((self.candidate.name, len(batch["pixel_values"])))
        return plain(self, batch, *arguments, **settings)

    monkeypatch.setattr(Teacher, "outputs", counted)
    return seen
