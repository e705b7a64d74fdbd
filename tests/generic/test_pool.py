import json
from dataclasses import replace

import pytest
import torch
from pools import CLASSES, POOLS, TEXT_CLASSES

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.generic import StudentPool

RESNET = {"family": "resnet", "depths": ((1, 2), (1,)), "widths": ((8,), (8, 16))}


def test_it_counts_and_lists_every_member_once():
    pool = StudentPool("vit", ((1, 2), (1,)), heads=(2, 4), feed_forward=(8, 16, 32), head_width=4)
    members = list(pool)
    assert len(members) == len(pool) == 2 * 1 * 2 * 3
    assert len({member.path for member in members}) == len(pool)
    assert members[-1] == pool.largest and members[-1].name == "vit depths 2-1 heads 4 feed-forward 32"


def test_a_sample_has_different_members_and_follows_its_seed():
    pool = StudentPool(**RESNET)
    assert {member.path for member in pool.sample(4, seed=0)} == {member.path for member in pool}
    big = StudentPool("convnext", ((1, 2, 3, 4),) * 4, widths=((8, 16, 24, 32),) * 4)
    assert big.sample(5, seed=1) == big.sample(5, seed=1) != big.sample(5, seed=2)
    with pytest.raises(InvalidArgumentError, match="`n` must be from 1 to the 4 members of the pool, got 5."):
        pool.sample(5, seed=0)


def test_a_sample_is_uniform_over_the_options():
    pool = POOLS["resnet"]
    drawn = [member.path[0] for seed in range(400) for member in pool.sample(1, seed=seed)]
    assert 150 < sum(drawn) < 250  # five standard deviations of a fair coin


def test_a_member_is_found_by_its_choices():
    pool = StudentPool(**RESNET)
    member = pool.member(depth_of_stage_1=2, depth_of_stage_2=1, width_of_stage_1=8, width_of_stage_2=16)
    assert member == pool.largest
    assert pool.only(member).largest.shape == member.shape and len(pool.only(member)) == 1
    with pytest.raises(InvalidArgumentError, match=r"`width_of_stage_2` must be one of \[8, 16\], got 12."):
        pool.member(depth_of_stage_1=2, depth_of_stage_2=1, width_of_stage_1=8, width_of_stage_2=12)
    with pytest.raises(InvalidArgumentError, match="`member` needs an option for each of depth_of_stage_1"):
        pool.member(depth=2)


@pytest.mark.parametrize("name", POOLS)
def test_a_pool_of_one_member_is_that_member(name):
    member = POOLS[name].sample(1, seed=8)[0]
    alone = POOLS[name].only(member)
    assert len(alone) == 1 and alone.largest.shape == member.shape
    assert alone.largest.config(CLASSES).to_dict() == member.config(CLASSES).to_dict()


@pytest.mark.parametrize("name", POOLS)
def test_it_round_trips_through_json(name, tmp_path):
    pool = POOLS[name]
    assert StudentPool.from_dict(json.loads(json.dumps(pool.to_dict()))) == pool
    assert StudentPool.load(pool.save(tmp_path / "pool.json")) == pool


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"family": "vgg"}, "`family` must be one of resnet, convnext, vit, bert, got 'vgg'."),
        ({"widths": ()}, "`widths` is required for the family 'resnet'. Declare `depths`, `widths`."),
        ({"heads": (2,)}, "`heads` has no meaning for the family 'resnet'. Declare `depths`, `widths`."),
        ({"depths": ((1, 2),)}, "`depths` must have at least two stages, got 1."),
        ({"widths": ((8,),)}, "`widths` must have as many stages as `depths`, 2, got 1."),
        ({"depths": ((2, 1), (1,))}, "`depth of stage 1` must offer positive integers, ascending"),
        ({"depths": ((0, 1), (1,))}, r"got \[0, 1\]."),
        ({"widths": ((), (8,))}, r"`width of stage 1` must offer .* got \[\]."),
        ({"depths": (1, 2)}, "in `depths` and `widths` one list per stage, .*: 'int' object is not iterable."),
        ({"depths": ((1.0, 2), (1,))}, r"`depth of stage 1` must offer .* got \[1.0, 2\]."),
        ({"depths": ("12", (1,))}, r"`depth of stage 1` must offer .* got \['1', '2'\]."),
        ({"settings": 5}, "and `settings` a mapping: 'int' object is not iterable."),
        ({"input_size": -5}, "`input_size` must be a positive integer, got -5."),
        ({"settings": {"depths": [1, 1]}}, "`settings` must not hold 'depths': the pool's options, `input_size`"),
        ({"settings": {"num_labels": 4}}, "`settings` must not hold 'num_labels'"),
        ({"settings": {"patchsize": 8}}, "`settings` holds 'patchsize', which no configuration of the family 'resnet'"),
        ({"settings": {"layer_type": "foo"}}, "`settings` must be JSON values that suit the family 'resnet': .*foo"),
        ({"settings": {"layer_type": {1, 2}}}, "`settings` must be JSON values that suit .*: Object of type set"),
    ],
)
def test_a_pool_that_makes_no_sense_is_refused(changes, said):
    with pytest.raises(InvalidArgumentError, match=said):
        StudentPool(**{**RESNET, **changes})


def test_an_encoder_needs_heads_of_a_width():
    with pytest.raises(InvalidArgumentError, match="`head_width` must be a positive integer, got -4."):
        StudentPool("vit", ((1,), (1,)), heads=(1,), feed_forward=(8,), head_width=-4)


@pytest.mark.parametrize("name", POOLS)
def test_every_field_of_a_configuration_can_be_a_setting_or_is_refused_by_name(name):
    pool = POOLS[name]
    plain = pool.kind.config(pool.largest.shape, input_size=pool.input_size, settings={}).to_dict()
    refused = set()
    for field, value in plain.items():
        try:
            replace(pool, settings={field: value})
        except InvalidArgumentError as error:
            assert f"`settings` must not hold '{field}'" in str(error)
            refused.add(field)
    assert {"id2label", "label2id"} < refused < set(plain)
    assert refused & {"hidden_size", "hidden_sizes"} and not refused & {"hidden_act", "initializer_range"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"family": "resnet"}, "A pool is described by `family`, `depths`"),
        ({**RESNET, "colour": 3}, "got colour, depths, family, widths."),
        ({**RESNET, "depths": [1, 2]}, "A pool's options must be lists of integers"),
    ],
)
def test_a_description_that_is_none_is_refused(values, said):
    with pytest.raises(InvalidArgumentError, match=said):
        StudentPool.from_dict(values)


@pytest.mark.parametrize("name", POOLS)
def test_a_member_is_a_plain_model_of_its_choices(name):
    pool = POOLS[name]
    classes = TEXT_CLASSES if name == "bert" else CLASSES
    member = pool.sample(1, seed=3)[0]
    shape, model = member.shape, member.build(classes)
    config = model.config
    assert type(model) is pool.kind.model_class
    assert config.id2label == dict(enumerate(classes.names)) and config.label2id[classes.names[1]] == 1
    if shape.widths:
        assert (tuple(config.depths), tuple(config.hidden_sizes)) == (shape.depths, shape.widths)
    else:
        assert config.num_hidden_layers == sum(shape.depths)
        assert config.num_attention_heads == shape.heads and config.hidden_size == shape.heads * 4
        assert config.intermediate_size == shape.feed_forward


def test_the_same_seed_builds_the_same_student_and_moves_no_other_random_number():
    member = POOLS["resnet"].largest
    torch.manual_seed(5)
    first = member.build(CLASSES, seed=1).state_dict()
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))
    same, other = (member.build(CLASSES, seed=seed).state_dict() for seed in (1, 2))
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", POOLS)
def test_a_skeleton_has_the_shapes_and_no_memory(name):
    member = POOLS[name].sample(1, seed=4)[0]
    skeleton, model = member.skeleton(CLASSES), member.build(CLASSES)
    assert {key: weight.shape for key, weight in skeleton.named_parameters()} == {
        key: weight.shape for key, weight in model.named_parameters()
    }
    assert all(weight.device.type == "meta" for weight in skeleton.parameters())
