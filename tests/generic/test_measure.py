import pytest
import torch
from pools import CLASSES, POOLS

from hf_ctkd.generic import StudentPool, measure, pareto
from hf_ctkd.generic.measure import count_parameters


@pytest.mark.parametrize("name", POOLS)
def test_sizes_are_those_of_the_built_model(name):
    member = POOLS[name].sample(1, seed=1)[0]
    measured = measure(member, CLASSES, repeats=2)
    assert measured.parameters == member.build(CLASSES).num_parameters() == count_parameters(member, CLASSES)
    assert measured.latency_ms > 0


def test_a_model_of_many_more_layers_takes_longer():
    pool = POOLS["convnext"]
    small = pool.member(**dict.fromkeys(["depth_of_stage_1", "depth_of_stage_2", "depth_of_stage_3"], 1),
                        width_of_stage_1=4, width_of_stage_2=8, width_of_stage_3=8)  # fmt: skip
    times = [[measure(one, CLASSES, repeats=15).latency_ms for one in (small, pool.largest)] for _ in range(3)]
    assert min(one for one, _ in times) < min(other for _, other in times)


def test_grey_images_are_timed_as_such():
    pool = StudentPool("resnet", ((1,), (1,)), widths=((4,), (4,)), input_size=8, settings={"num_channels": 1})
    assert measure(pool.largest, CLASSES, repeats=1).latency_ms > 0
    assert pool.largest.build(CLASSES).eval()(torch.zeros(1, 1, 8, 8)).logits.shape == (1, 3)


@pytest.mark.parametrize(
    ("costs", "values", "front"),
    [
        ([1, 2, 3], [1, 2, 3], (0, 1, 2)),
        ([1, 2, 3], [3, 2, 1], (0,)),
        ([2, 2, 1], [5, 6, 1], (2, 1)),
        ([1, 1], [4, 4], (0,)),
        ([], [], ()),
    ],
)
def test_pareto_keeps_what_no_other_beats(costs, values, front):
    assert pareto(costs, values) == front
