import logging

import numpy as np
import pytest
import torch
from tiny_models import TINY
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BigBirdConfig,
    BigBirdModel,
    FNetConfig,
    FNetModel,
    ViTConfig,
    ViTForImageClassification,
    ViTMAEConfig,
    ViTMAEModel,
)

from hf_ctkd.errors import ProblemCode, TeacherUnavailableError
from hf_ctkd.teachers import FeatureReader
from hf_ctkd.teachers.independence import IndependentReader, RowOrder
from hf_ctkd.types import ModelOutputs

VIT = {**TINY, "image_size": 16, "patch_size": 4}


def reader_of(model) -> IndependentReader:
    return IndependentReader(FeatureReader(model.eval()))


def pixels(count: int = 4) -> dict[str, torch.Tensor]:
    return {"pixel_values": torch.randn(count, 3, 16, 16)}


def tokens() -> dict[str, torch.Tensor]:
    ids = torch.randint(5, 20, (4, 7))
    mask = torch.ones_like(ids)
    for row, length in enumerate((7, 4, 4, 2)):
        ids[row, length:] = mask[row, length:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def row(batch: dict[str, torch.Tensor], number: int) -> dict[str, torch.Tensor]:
    kept = batch["attention_mask"][number].bool() if "attention_mask" in batch else slice(None)
    return {name: tensor[number : number + 1, kept] for name, tensor in batch.items()}


def assert_independent(reader: IndependentReader, batch: dict[str, torch.Tensor]) -> ModelOutputs:
    with torch.no_grad():
        outputs = reader.read(batch, layers=True)
        again = reader.read(batch, layers=True)
        alone = [reader.read(row(batch, number), layers=True) for number in range(len(outputs))]
    assert torch.equal(outputs.features, again.features)
    torch.testing.assert_close(outputs.features, torch.cat([single.features for single in alone]))
    for index, layer in enumerate(outputs.layers):
        torch.testing.assert_close(layer, torch.cat([single.layers[index] for single in alone]))
    return outputs


class NoisyViT(ViTForImageClassification):
    """Draws a number for each row."""

    def forward(self, pixel_values, **settings):
        noise = torch.randn(len(pixel_values), 1, 1, 1, device=pixel_values.device)
        return super().forward(pixel_values + noise, **settings)


class MixingViT(ViTForImageClassification):
    """Compares the rows of a batch."""

    def forward(self, pixel_values, **settings):
        return super().forward(pixel_values - pixel_values.mean(0), **settings)


class UnseededViT(ViTForImageClassification):
    """Draws numbers that no seed fixes."""

    def forward(self, pixel_values, **settings):
        shift = float(np.random.default_rng().normal())
        return super().forward(pixel_values + shift, **settings)


def test_most_models_are_run_as_they_are(caplog):
    reader = reader_of(BertForSequenceClassification(BertConfig(**TINY, vocab_size=20, num_labels=3)))
    assert_independent(reader, tokens())
    assert reader.order is RowOrder.TOGETHER and not caplog.messages


def test_a_model_that_reads_padding_gets_none(caplog):
    model = FNetModel(FNetConfig(**TINY, vocab_size=20, max_position_embeddings=32))
    reader, batch = reader_of(model), tokens()
    with caplog.at_level(logging.WARNING):
        assert_independent(reader, batch)
    assert reader.order is RowOrder.BY_LENGTH
    hidden = reader.read(batch, [-1]).hidden[0]
    assert hidden.values.shape == (4, 7, 8) and torch.equal(hidden.mask, batch["attention_mask"].bool())
    torch.testing.assert_close(hidden.values[3, :2], reader.read(row(batch, 3), [-1]).hidden[0].values[0])


def test_padding_is_looked_for_in_later_batches_too():
    reader, batch = reader_of(FNetModel(FNetConfig(**TINY, vocab_size=20, max_position_embeddings=32))), tokens()
    reader.read({name: tensor[:, :2] for name, tensor in batch.items()})
    assert reader.order is RowOrder.TOGETHER
    reader.read(batch)
    assert reader.order is RowOrder.BY_LENGTH


@pytest.mark.parametrize("family", [NoisyViT, MixingViT])
def test_a_model_that_draws_or_mixes_row_by_row_runs_them_one_by_one(family):
    reader = reader_of(family(ViTConfig(**VIT, num_labels=3)))
    outputs = assert_independent(reader, pixels())
    assert reader.order is RowOrder.ALONE and outputs.logits.shape == (4, 3)


def test_a_model_that_no_seed_fixes_is_refused():
    reader = reader_of(UnseededViT(ViTConfig(**VIT, num_labels=3)))
    with pytest.raises(TeacherUnavailableError, match="other outputs for the same row each time") as refusal:
        reader.read(pixels())
    assert refusal.value.code is ProblemCode.INCOMPATIBLE


def test_a_masked_autoencoder_sees_every_patch_in_its_place():
    model = ViTMAEModel(ViTMAEConfig(**VIT)).eval()
    reader, batch = reader_of(model), pixels()
    random_state = torch.get_rng_state()
    outputs = assert_independent(reader, batch)
    assert torch.equal(random_state, torch.get_rng_state())
    assert reader.order is RowOrder.TOGETHER and len(outputs.layers) == 3
    embedded = model.embeddings.patch_embeddings(batch["pixel_values"]) + model.embeddings.position_embeddings[:, 1:]
    hidden = reader.read(batch, [0]).hidden[0]
    assert hidden.grid == (4, 4)
    torch.testing.assert_close(hidden.values, embedded)


def test_random_numbers_of_the_caller_stay_as_they_were():
    config = BigBirdConfig(**TINY, vocab_size=20, max_position_embeddings=32, block_size=1, num_random_blocks=1)
    reader = reader_of(BigBirdModel(config))
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    batch = {"input_ids": torch.arange(5, 20).repeat(2, 1)}
    torch.set_rng_state(torch_state)
    reader.read(batch)
    assert torch.equal(torch_state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])
