"""What teachers say about the rows of a batch: read from outputs computed once, or run at every step."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from jaxtyping import Bool
from torch import Tensor

from hf_ctkd.data import Modality, TargetRows
from hf_ctkd.errors import InvalidArgumentError, NoTeacherLeftError, TeacherUnavailableError
from hf_ctkd.hub import candidates_named
from hf_ctkd.records import TeacherCandidate
from hf_ctkd.teachers import LoadOptions, Teacher, compute_outputs
from hf_ctkd.training.offloading import DeviceOffloading
from hf_ctkd.types import ModelOutputs

TeacherLike = TeacherCandidate | Teacher | str


def load_teachers(
    teachers: Sequence[TeacherLike], modality: Modality, device: torch.device, options: LoadOptions
) -> tuple[Teacher, ...]:
    """Teachers from candidates, Hub ids (`"org/model@revision"`), folders, either after "random:", or loaded ones.

    All of them end up on the device, those that were loaded elsewhere too.

    Raises:
        TeacherUnavailableError: naming the first that cannot be used: training goes on with all or not at all.
    """
    return tuple(_load(teacher, modality, device, options) for teacher in teachers)


def _load(teacher: TeacherLike, modality: Modality, device: torch.device, options: LoadOptions) -> Teacher:
    if isinstance(teacher, Teacher):
        return teacher.move(device)
    candidate = candidate_named(teacher) if isinstance(teacher, str) else teacher
    try:
        return Teacher.load(candidate, modality, device=device, options=options)
    except TeacherUnavailableError as error:
        raise TeacherUnavailableError(f"Teacher '{candidate.name}': {error}", error.code) from error


def candidate_named(name: str) -> TeacherCandidate:
    """The one candidate of a Hub id (`"org/model@revision"`) or a folder, after "random:" with random weights.

    Raises:
        NoTeacherLeftError: if it holds no model, or several.
    """
    found = list(candidates_named(name))
    if len(found) != 1:
        raise NoTeacherLeftError(f"`teachers` names {name!r}, which holds {len(found)} models. Name one of them.")
    return found[0]


@dataclass(eq=False)
class PassCount:
    """How many rows teachers were at hand for, and how many they were really asked about, on this process.

    Args:
        offered: rows times teachers.
        read: those that a teacher ran on, or whose kept outputs were looked up.
    """

    offered: int = 0
    read: int = 0

    @property
    def skipped(self) -> int:
        """Passes that a loss did without."""
        return self.offered - self.read


@dataclass(frozen=True, eq=False)
class TeacherRunner:
    """The frozen teachers of a run, and their outputs on all training rows when these are kept.

    Args:
        teachers: loaded, on their device.
        kept: outputs of each over all training rows, in row order, on the CPU; empty when they run at every step.
        hidden: layers of each teacher that the loss reads.
        layers: whether the loss reads pooled layers of all depths.
        samples: outputs of each on one row, where they run at every step; tells what to hand over for no row at all.
        offloading: keeps no more than so many of them on the device; None for all.
        passes: counts the rows that they are asked about in training.
    """

    teachers: tuple[Teacher, ...]
    kept: tuple[ModelOutputs, ...] = ()
    hidden: tuple[int, ...] = ()
    layers: bool = False
    samples: tuple[ModelOutputs, ...] = ()
    offloading: DeviceOffloading | None = None
    passes: PassCount = field(default_factory=PassCount)

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
        offloading: DeviceOffloading | None = None,
    ) -> "TeacherRunner":
        """Run every teacher once over all rows, or find its outputs in the cache."""
        teacher_runner = cls(teachers, layers=layers, offloading=offloading)
        outputs = tuple(
            compute_outputs(
                teacher_runner.ready(place),
                rows,
                accelerator=accelerator,
                batch_size=batch_size,
                cache_dir=cache_dir,
                progress=progress,
                layers=layers,
            ).select(torch.arange(len(rows)))
            for place in range(len(teachers))
        )
        if offloading is not None:
            offloading.clear()  # what is kept needs no teacher: the device is the student's
        return replace(teacher_runner, kept=outputs)

    def with_samples(self, outputs: tuple[ModelOutputs, ...]) -> "TeacherRunner":
        """The same, knowing what outputs look like for no row at all.

        Args:
            outputs: of each teacher on any rows; the first of them are kept.
        """
        return replace(self, samples=tuple(one.select(torch.arange(1)) for one in outputs))

    def ready(self, place: int) -> Teacher:
        """One of the teachers, on its device."""
        teacher = self.teachers[place]
        return teacher if self.offloading is None else self.offloading.enter(teacher)

    def outputs(
        self, batch: dict[str, Any], chosen: Bool[Tensor, "batch teachers"] | None = None
    ) -> tuple[ModelOutputs, ...]:
        """Outputs of every teacher on the rows of a batch, on the batch's device, without gradient.

        Args:
            batch: from the collator.
            chosen: which rows each teacher is asked about; None for all. It does not run on the others, whatever was
                kept of them is not read, and its outputs are of the chosen rows alone.

        Raises:
            InvalidArgumentError: if teachers are to run but the batch holds no view for them.
        """
        numbers = batch["numbers"]
        self.passes.offered += len(numbers) * len(self.teachers)
        self.passes.read += len(numbers) * len(self.teachers) if chosen is None else int(chosen.sum())
        if self.kept:
            rows = [numbers.cpu()] * len(self.kept)
            if chosen is not None:
                rows = [numbers[chosen[:, place]].cpu() for place in range(len(self.kept))]
            return tuple(one.select(own).to(numbers.device) for one, own in zip(self.kept, rows, strict=True))
        if len(batch["teachers"]) != len(self.teachers):
            raise InvalidArgumentError(
                f"The batch must hold a view for each of {len(self.teachers)} teachers, got {len(batch['teachers'])}."
            )
        # In the precision of their weights even where the student runs in a lower one.
        with torch.autocast(numbers.device.type, enabled=False):
            said = [self._run(place, view, chosen) for place, view in enumerate(batch["teachers"])]
        return tuple(one.to(numbers.device) for one in said)

    def _run(self, place: int, view: dict[str, Tensor], chosen: Tensor | None) -> ModelOutputs:
        if chosen is not None:
            rows = chosen[:, place].nonzero()[:, 0]
            if not len(rows):
                return self.samples[place].select(rows.cpu())  # no row, of the right widths
            view = {name: values[rows] for name, values in view.items()}
        return self.ready(place).outputs(view, self.hidden, layers=self.layers)
