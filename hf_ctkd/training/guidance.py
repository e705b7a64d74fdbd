"""What teachers say about the rows of a batch: read from outputs computed once, or run at every step."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from hf_ctkd.errors import InvalidArgumentError, NoTeacherLeftError, TeacherUnavailableError
from hf_ctkd.hub import candidates_named
from hf_ctkd.records import TeacherCandidate
from hf_ctkd.teachers import LoadOptions, Modality, TargetRows, Teacher, compute_outputs
from hf_ctkd.types import ModelOutputs

TeacherLike = TeacherCandidate | Teacher | str


def load_teachers(
    teachers: Sequence[TeacherLike], modality: Modality, device: torch.device, options: LoadOptions
) -> tuple[Teacher, ...]:
    """Teachers from candidates, Hub ids (`"org/model@revision"`), folders, either after "random:", or loaded ones.

    Raises:
        TeacherUnavailableError: naming the first that cannot be used: training goes on with all or not at all.
    """
    return tuple(_load(teacher, modality, device, options) for teacher in teachers)


def _load(teacher: TeacherLike, modality: Modality, device: torch.device, options: LoadOptions) -> Teacher:
    if isinstance(teacher, Teacher):
        return teacher
    candidate = _candidate(teacher) if isinstance(teacher, str) else teacher
    try:
        return Teacher.load(candidate, modality, device=device, options=options)
    except TeacherUnavailableError as error:
        raise TeacherUnavailableError(f"Teacher '{candidate.name}': {error}") from error


def _candidate(name: str) -> TeacherCandidate:
    found = list(candidates_named(name))
    if len(found) != 1:
        raise NoTeacherLeftError(f"`teachers` names {name!r}, which holds {len(found)} models. Name one of them.")
    return found[0]


@dataclass(frozen=True, eq=False)
class Guidance:
    """The frozen teachers of a run, and their outputs on all training rows when these are kept.

    Args:
        teachers: loaded, on their device.
        kept: outputs of each over all training rows, in row order, on the CPU; empty when they run at every step.
        hidden: layers of each teacher that the loss reads.
        layers: whether the loss reads pooled layers of all depths.
    """

    teachers: tuple[Teacher, ...]
    kept: tuple[ModelOutputs, ...] = ()
    hidden: tuple[int, ...] = ()
    layers: bool = False

    @classmethod
    def computed_once(
        cls,
        teachers: tuple[Teacher, ...],
        rows: TargetRows,
        *,
        accelerator: Accelerator,
        batch_size: int,
        cache_dir: Path | str,
        progress: bool = True,
        layers: bool = False,
    ) -> "Guidance":
        """Run every teacher once over all rows, or find its outputs in the cache."""
        outputs = tuple(
            compute_outputs(
                teacher,
                rows,
                accelerator=accelerator,
                batch_size=batch_size,
                cache_dir=cache_dir,
                progress=progress,
                layers=layers,
            )
            for teacher in teachers
        )
        return cls(teachers, outputs, layers=layers)

    def outputs(self, batch: dict[str, Any]) -> tuple[ModelOutputs, ...]:
        """Outputs of every teacher on the rows of a batch, on the batch's device, without gradient.

        Raises:
            InvalidArgumentError: if teachers are to run but the batch holds no view for them.
        """
        if self.kept:
            numbers = batch["numbers"]
            return tuple(outputs.select(numbers.cpu()).to(numbers.device) for outputs in self.kept)
        if len(batch["teachers"]) != len(self.teachers):
            raise InvalidArgumentError(
                f"The batch must hold a view for each of {len(self.teachers)} teachers, got {len(batch['teachers'])}."
            )
        return tuple(
            teacher.outputs(view, self.hidden, layers=self.layers)
            for teacher, view in zip(self.teachers, batch["teachers"], strict=True)
        )
