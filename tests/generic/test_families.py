import pytest
import torch
from pools import POOLS

from hf_ctkd.generic.families import FAMILIES, Shape, additive_mask


def test_every_family_is_tested():
    assert {pool.family for pool in POOLS.values()} == set(FAMILIES)


@pytest.mark.parametrize(("boundary", "width"), [(0, 8), (1, 8), (2, 16)])
def test_a_stage_reads_what_the_one_before_it_gives(boundary, width):
    assert Shape((1, 1, 1), (8, 16, 32)).entry_width(boundary) == width
    assert Shape((1, 1, 1), heads=3, feed_forward=8, head_width=4).entry_width(boundary) == 12


@pytest.mark.parametrize(("layer_type", "stem"), [("basic", 16), ("bottleneck", 4)])
def test_the_stem_of_a_resnet_follows_its_first_stage(layer_type, stem):
    shape = Shape((1, 1), (16, 32))
    config = FAMILIES["resnet"].config(shape, input_size=32, settings={"layer_type": layer_type})
    assert config.embedding_size == stem


def test_padding_is_masked_by_addition():
    mask = additive_mask(torch.tensor([[True, False]]), torch.float32)
    assert mask.shape == (1, 1, 1, 2)
    assert mask[0, 0, 0, 0] == 0 and (mask[0, 0, 0] + 1000).softmax(0)[1] == 0
    assert additive_mask(None, torch.float32) is None
