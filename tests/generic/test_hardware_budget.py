import pytest
import torch
from pools import CLASSES, POOLS

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.generic import StudentPool, measure_student, pareto_front, students_within_budget
from hf_ctkd.generic.hardware_budget import count_parameters
from hf_ctkd.types import LabelSpace


@pytest.mark.parametrize("name", POOLS)
def test_sizes_are_those_of_the_built_model(name):
    member = POOLS[name].sample(1, seed=1)[0]
    measured = measure_student(member, CLASSES, repeats=2)
    assert measured.parameters == member.build(CLASSES).num_parameters() == count_parameters(member, CLASSES)
    assert measured.latency_ms > 0


def test_a_model_of_many_more_layers_takes_longer():
    pool = POOLS["convnext"]
    small = pool.member(**dict.fromkeys(["depth_of_stage_1", "depth_of_stage_2", "depth_of_stage_3"], 1),
                        width_of_stage_1=4, width_of_stage_2=8, width_of_stage_3=8)  # fmt: skip
    times = [[measure_student(one, CLASSES, repeats=15).latency_ms for one in (small, pool.largest)] for _ in range(3)]
    assert min(one for one, _ in times) < min(other for _, other in times)


def test_grey_images_are_timed_as_such():
    pool = StudentPool("resnet", ((1,), (1,)), widths=((4,), (4,)), input_size=8, settings={"num_channels": 1})
    assert measure_student(pool.largest, CLASSES, repeats=1).latency_ms > 0
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
def test_the_pareto_front_holds_the_points_that_no_other_dominates(costs, values, front):
    assert pareto_front(costs, values) == front


def test_students_for_a_budget_are_built_and_timed():
    pool = POOLS["resnet"]
    sizes = sorted(member.build(CLASSES).num_parameters() for member in pool)
    students = students_within_budget(pool, CLASSES, parameters=sizes[20])
    assert all(student.latency_ms > 0 and student.device == "cpu" for student in students)
    parameters = [student.parameters for student in students]
    assert parameters == sorted(parameters, reverse=True) and parameters[0] <= sizes[20]
    assert len(students) >= 10


def test_the_head_of_the_task_counts():
    thousand = LabelSpace(tuple(f"class {number}" for number in range(1000)))
    pool = POOLS["resnet"]
    sizes = sorted(member.build(thousand).num_parameters() for member in pool)
    students = students_within_budget(pool, thousand, parameters=sizes[3])
    assert [student.parameters for student in students] == [
        student.member.build(thousand).num_parameters() for student in students
    ]
    assert students[0].parameters == sizes[3] and students[-1].parameters == sizes[0]
    with pytest.raises(InvalidArgumentError, match=f"too few for any of 64 members: the smallest has {sizes[0]}"):
        students_within_budget(pool, thousand, parameters=sizes[0] - 1)


def test_a_larger_pool_is_searched_over_random_members():
    students = students_within_budget(POOLS["vit"], CLASSES, parameters=10**9, candidates=5, seed=3)
    assert {student.member.path for student in students} == {member.path for member in POOLS["vit"].sample(5, seed=3)}


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ({"parameters": 10}, "`parameters` 10 is too few for any of 3 members: the smallest has"),
        ({"latency_ms": 1e-9}, "`latency_ms` 1e-09 is too short for any of 3 members on cpu: the fastest takes"),
        ({"parameters": 0}, "`parameters` must be positive, got 0."),
        ({"latency_ms": 5.0, "device": "nowhere"}, "`device` 'nowhere' cannot be used on this machine"),
    ],
)
def test_a_budget_that_nothing_fits_is_refused(budget, said):
    with pytest.raises(InvalidArgumentError, match=said):
        students_within_budget(POOLS["resnet"], CLASSES, candidates=3, **budget)
