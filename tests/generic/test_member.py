import pytest
import torch
from pools import CLASSES, POOLS, TEXT_CLASSES


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
    one = member.build(CLASSES, seed=1).state_dict()
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))
    same, other = (member.build(CLASSES, seed=seed).state_dict() for seed in (1, 2))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", POOLS)
def test_a_skeleton_has_the_shapes_and_no_memory(name):
    member = POOLS[name].sample(1, seed=4)[0]
    skeleton, model = member.skeleton(CLASSES), member.build(CLASSES)
    assert {key: one.shape for key, one in skeleton.named_parameters()} == {
        key: one.shape for key, one in model.named_parameters()
    }
    assert all(one.device.type == "meta" for one in skeleton.parameters())
