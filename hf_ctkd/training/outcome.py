"""Whether training got anywhere: the loss at its start and at its end, and a student that is no better than chance."""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.utils.logging import get_logger

from hf_ctkd.records import Confidence

logger = get_logger(__name__)

_WINDOW = 20
"""Optimiser steps at either end whose losses are averaged; a quarter of all where there are fewer."""
_LEAST_FALL = 0.02
"""Share of the first loss by which the last must be lower: 39 steps at a rate of 5e-5 on digits give 0.01."""
_ERRORS = 2.0
"""Standard errors by which they must differ."""


@dataclass(frozen=True)
class LossEnds:
    """The training loss at the start and at the end.

    Args:
        first: mean over the first optimiser steps.
        last: mean over the last ones.
        noise: standard error of their difference.
        steps: number of steps in between, both included.
    """

    first: float
    last: float
    noise: float
    steps: int

    @property
    def fell(self) -> bool:
        """Whether the loss has left its starting value downwards."""
        return self.last < self.first - max(_ERRORS * self.noise, _LEAST_FALL * abs(self.first))

    @property
    def rose(self) -> bool:
        """Whether it is higher than at the start, or no number."""
        return not self.last <= self.first + max(_ERRORS * self.noise, _LEAST_FALL * abs(self.first))


class LossTrace:
    """Keeps the losses of the first and the last optimiser steps of a run, on their device: nothing waits for them.

    Where a loss trains in phases, those of its last phase: losses of two phases do not compare.
    """

    def __init__(self) -> None:
        self._phase = 1.0
        self._first: list[Tensor] = []
        self._last: deque[Tensor] = deque(maxlen=_WINDOW)
        self._step: Tensor | None = None
        self._steps = 0

    def add(self, loss: Tensor, *, last_batch: bool, phase: float = 1.0) -> None:
        """Take the loss of a batch.

        Args:
            loss: its share of the loss of its optimiser step.
            last_batch: whether it is the last batch of the step.
            phase: the factor of the task loss, which tells the phases of a loss apart.
        """
        if phase != self._phase:
            self._phase, self._steps = phase, 0
            self._first.clear()
            self._last.clear()
        self._step = loss.detach() if self._step is None else self._step + loss.detach()
        if not last_batch:
            return
        self._steps += 1
        if len(self._first) < _WINDOW:
            self._first.append(self._step)
        self._last.append(self._step)
        self._step = None

    def ends(self, first_step: int = 0) -> LossEnds | None:
        """Means of both ends; None before there are two steps, and where the start of the run was not seen.

        Args:
            first_step: the step at which this run began: not 0 where it resumed.
        """
        count = min(_WINDOW, max(1, self._steps // 4))
        if self._steps < 2 or first_step:
            return None
        first, last = (torch.stack(part).double().cpu() for part in (self._first[:count], [*self._last][-count:]))
        variance = 0.0 if count == 1 else float(first.var() + last.var()) / count
        return LossEnds(float(first.mean()), float(last.mean()), math.sqrt(variance), self._steps)


def warn_of_loss(ends: LossEnds | None, learning_rate: float | None) -> None:
    """One line in the log where the loss has not left its starting value, naming the arguments to change.

    Args:
        ends: of the training loss; None where they are not known.
        learning_rate: of the run.
    """
    if ends is None or ends.fell:
        return
    change = f"from {ends.first:.4g} to {ends.last:.4g} in {ends.steps} steps"
    if ends.rose:
        logger.warning(f"The training loss rose, {change}. Lower `learning_rate`, which is {learning_rate:g}.")
        return
    logger.warning(
        f"The training loss has hardly left its starting value: {change}. Raise `num_train_epochs` or `max_steps`, or "
        f"`learning_rate`, which is {learning_rate:g}."
    )


def warn_of_chance(results: Mapping[str, Confidence], majority_share: float | None) -> None:
    """One line in the log where a student is not measurably better than always guessing the most frequent class.

    Args:
        results: metrics of the student.
        majority_share: share of that class among the evaluation rows; None without classes.
    """
    accuracy = results.get("accuracy")
    if accuracy is None or majority_share is None:
        return
    lowest = accuracy.value if accuracy.low is None else accuracy.low
    if lowest > majority_share:
        return
    logger.warning(
        f"The accuracy, {accuracy.value:.3g}, is not measurably above chance: the most frequent class has a share of "
        f"{majority_share:.3g}. Raise `num_train_epochs` or `max_steps`, try another `learning_rate`, or label more "
        "rows."
    )
