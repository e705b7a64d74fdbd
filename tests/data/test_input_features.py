import doctest
import math
from functools import partial

import numpy as np
import pytest
import torch
from tiny_models import image_processor, tiny_bert, tiny_resnet, word_tokenizer

from hf_ctkd.data import InputFeatureReader, Preprocessor, TargetRows, input_features
from hf_ctkd.data.stored_features import StoredFeatures
from hf_ctkd.errors import InvalidArgumentError


def all_rows(features):
    return features.select(torch.arange(len(features))).features


def test_examples():
    assert doctest.testmod(input_features).failed == 0


def test_pixels_are_the_models_own_and_averaged_where_they_are_many(images):
    rows = TargetRows.of(images)
    view = Preprocessor.of(image_processor(16), "image", tiny_resnet().config)
    _, features = InputFeatureReader.of(view, rows, batch_size=5)
    assert torch.equal(all_rows(features), view(rows.inputs(range(12)))["pixel_values"].flatten(1))
    large = torch.arange(32.0).repeat(1, 3, 32, 1)
    assert InputFeatureReader().read({"pixel_values": large})[0, :3].tolist() == [0.5, 2.5, 4.5]


def test_tokens_are_counted_without_padding_and_weighted_by_rarity(texts):
    rows = TargetRows.of(texts)
    tokenizer = word_tokenizer()
    view = Preprocessor.of(tokenizer, "text", tiny_bert().config)
    reader, features = InputFeatureReader.of(view, rows, batch_size=5)
    read = all_rows(features)
    assert torch.allclose(read.norm(dim=1), torch.ones(12))
    alone, beside = reader.read(view(rows.inputs([0]))), reader.read(view(rows.inputs(range(12))))
    assert torch.allclose(alone[0], beside[0])
    assert torch.allclose(beside, read)
    red, cat = reader.read(view(["red", "red cat"]))
    word = {name: tokenizer.convert_tokens_to_ids(name) for name in ("red", "cat")}
    seen = {name: int((read[:, number] > 0).sum()) for name, number in word.items()}
    assert float(red[word["red"]]) == pytest.approx(1.0)
    rarity = {name: math.log(12 / (1 + count)) for name, count in seen.items()}
    assert float(cat[word["cat"]] / cat[word["red"]]) == pytest.approx(rarity["cat"] / rarity["red"], rel=1e-5)


def test_features_that_would_take_much_memory_are_read_from_a_file(texts, images, tmp_path, monkeypatch):
    in_memory = [InputFeatureReader.without_model(TargetRows.of(rows), folder=tmp_path) for rows in (texts, images)]
    monkeypatch.setattr(input_features, "store_features", partial(input_features.store_features, limit=0))
    on_disk = [InputFeatureReader.without_model(TargetRows.of(rows), folder=tmp_path) for rows in (texts, images)]
    for first, second in zip(in_memory, on_disk, strict=True):
        assert torch.equal(all_rows(first), all_rows(second))
    assert isinstance(on_disk[1], StoredFeatures) and not isinstance(in_memory[1], StoredFeatures)


def test_rows_without_a_model_give_small_colour_images(images):
    rows = TargetRows.of(images)
    read = all_rows(InputFeatureReader.without_model(rows, batch_size=5))
    assert read.shape == (12, input_features.SIDE**2 * 3)
    first = rows.inputs([0])[0].convert("RGB").resize((input_features.SIDE, input_features.SIDE), 2)
    assert torch.allclose(read[0], torch.tensor(np.asarray(first)).flatten() / 255)


def test_rows_without_a_model_give_whole_words_weighted_by_rarity(texts):
    read = all_rows(InputFeatureReader.without_model(TargetRows.of(texts), batch_size=5))
    assert read.shape == (12, input_features.BUCKETS)
    assert torch.allclose(read.norm(dim=1), torch.ones(12))


def test_a_pair_without_a_model_has_the_words_of_both(texts):
    words = texts["text"][:]
    pairs = texts.add_column("other", words[::-1])
    read = all_rows(InputFeatureReader.without_model(TargetRows.of(pairs, input_column=["text", "other"])))
    swapped = texts.remove_columns("text").add_column("text", words[::-1]).add_column("other", words)
    turned = InputFeatureReader.without_model(TargetRows.of(swapped, input_column=["text", "other"]))
    assert torch.equal(read, all_rows(turned))
    first = InputFeatureReader.without_model(TargetRows.of(texts))
    assert int((read > 0).sum()) > int((all_rows(first) > 0).sum())


def test_tokens_beyond_the_buckets_share_them():
    reader = InputFeatureReader(torch.ones(input_features.BUCKETS))
    low, high = (reader.read({"input_ids": torch.tensor([[number]])}) for number in (3, 3 + input_features.BUCKETS))
    assert torch.equal(low, high) and int(low.argmax()) == 3


def test_what_is_neither_pixels_nor_tokens_is_refused():
    with pytest.raises(InvalidArgumentError, match="got input_values. Choose a loss that reads teachers alone"):
        InputFeatureReader().read({"input_values": torch.zeros(1, 8)})
