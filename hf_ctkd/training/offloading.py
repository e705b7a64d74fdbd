"""Which teachers are on the device, when not all of them fit at once."""

import torch

from hf_ctkd.teachers import Teacher


class DeviceOffloading:
    """Keeps the teachers used last on the device, and all others in the memory of the machine.

    Use it for a committee that does not fit the accelerator. Moving a teacher costs time at every change, so keep
    outputs (`cache_teacher_outputs`) where that is possible: then each moves once.

    Args:
        device: where teachers run.
        most: teachers on it at a time, at least 1.
    """

    def __init__(self, device: torch.device, most: int) -> None:
        self.device = device
        self.most = most
        self._present: list[Teacher] = []

    def enter(self, teacher: Teacher) -> Teacher:
        """Bring a teacher to the device; the one that was not used for longest makes room."""
        if teacher in self._present:
            self._present.remove(teacher)
        while len(self._present) >= self.most:
            self._present.pop(0).move("cpu")
        self._present.append(teacher)
        return teacher.move(self.device)

    def clear(self) -> None:
        """Take all teachers off the device."""
        while self._present:
            self._present.pop().move("cpu")
