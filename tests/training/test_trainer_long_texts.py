"""How much of a long text the student reads."""

import warnings

import pytest
import tiny
from datasets import Dataset
from transformers import BertConfig, BertForSequenceClassification

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.training import DistillationTrainer

MOST = 600


def long_rows(words: int) -> Dataset:
    texts = ["the " * words + ("red" if row % 2 else "green") for row in range(8)]
    return Dataset.from_dict(
        {"text": texts, "label": [row % 2 for row in range(8)]}, features=tiny.text_rows().features
    )


@pytest.fixture
def make(config):
    def trainer(words, teachers=None, positions=MOST, **changes):
        tokenizer = tiny.tokenizer()
        tokenizer.model_max_length = MOST
        student = BertConfig(
            vocab_size=14, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
            max_position_embeddings=positions, num_labels=2,
        )  # fmt: skip
        return DistillationTrainer(
            BertForSequenceClassification(student), config(max_steps=1, **changes), teachers=teachers,
            train_dataset=long_rows(words), processing_class=tokenizer,
        )  # fmt: skip

    return trainer


def read(trainer):
    return trainer.data_collator([trainer.train_dataset[0], trainer.train_dataset[1]])["student"]["input_ids"]


def test_cut_that_nobody_asked_for_is_told(make):
    with pytest.warns(UserWarning, match="longer than 512 tokens .* `max_length` to let it read up to 600, or to 512"):
        trainer = make(550)
    assert read(trainer).shape == (2, 512)
    assert trainer.record().training["max_length"] == 512


@pytest.mark.parametrize(("words", "max_length", "seen"), [(550, 600, 551), (550, 40, 40), (511, None, 512)])
def test_length_that_is_set_reaches_the_student_alone(make, text_teacher, words, max_length, seen):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer = make(words, [text_teacher], max_length=max_length)
    assert read(trainer).shape == (2, seen)
    assert trainer.teacher_runner.teachers[0].preprocessor.max_length == 32
    trainer.train()
    assert trainer.record().training["max_length"] == (max_length or 512)


def test_two_positions_that_are_spared_are_not_worth_a_warning(make):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer = make(550, positions=512)
    assert read(trainer).shape == (2, 510)


def test_length_out_of_range_is_refused(make):
    with pytest.raises(InvalidArgumentError, match="`max_length` must be between 1 and .* got 0"):
        make(5, max_length=0)
    with pytest.raises(InvalidArgumentError, match="`max_length` must be at most 600"):
        make(5, max_length=601)
