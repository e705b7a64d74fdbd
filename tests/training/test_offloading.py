from dataclasses import dataclass, field

import torch

from hf_ctkd.training.offloading import DeviceOffloading


@dataclass(eq=False)
class Wanderer:
    """Stands in for a teacher: notes where it goes."""

    places: list = field(default_factory=list)

    def move(self, device):
        self.places.append(str(device))
        return self


def on_device(*teachers):
    return [bool(one.places) and one.places[-1] == "meta" for one in teachers]


def test_the_teacher_not_used_for_longest_makes_room():
    first, second, third = Wanderer(), Wanderer(), Wanderer()
    offloading = DeviceOffloading(torch.device("meta"), 2)
    assert offloading.enter(first) is first
    offloading.enter(second)
    assert on_device(first, second) == [True, True]
    offloading.enter(first)
    offloading.enter(third)
    assert on_device(first, second, third) == [True, False, True]
    offloading.clear()
    assert on_device(first, second, third) == [False] * 3


def test_one_at_a_time():
    teachers = [Wanderer() for _ in range(3)]
    offloading = DeviceOffloading(torch.device("meta"), 1)
    for one in teachers * 2:
        offloading.enter(one)
        assert sum(on_device(*teachers)) == 1 and one.places[-1] == "meta"
