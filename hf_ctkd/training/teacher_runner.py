"""The frozen teachers of a run: loaded, run once over all rows, or run at every step."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from jaxtyping import Bool
from torch import Tensor
from transformers.utils.logging import get_logger

from hf_ctkd.data import Modality, TargetRows
from hf_ctkd.errors import DiskFullError, InvalidArgumentError, NoTeacherLeftError, ProblemCode, TeacherUnavailableError
from hf_ctkd.hub import candidates_named
from hf_ctkd.losses import DistillationLoss
from hf_ctkd.records import TeacherCandidate
from hf_ctkd.teachers import LoadOptions, StoredOutputs, Teacher, compute_outputs
from hf_ctkd.teachers.cache import named_tensors
from hf_ctkd.teachers.failures import does_not_fit
from hf_ctkd.teachers.layers import MOST_LAYERS
from hf_ctkd.teachers.micro_batches import in_micro_batches, joined
from hf_ctkd.teachers.output_checks import MOST_NOT_FINITE, finite_rows
from hf_ctkd.training.config import DistillationConfig
from hf_ctkd.training.finite_rows import FiniteRows
from hf_ctkd.training.offloading import DeviceOffloading
from hf_ctkd.types import LabelSpace, ModelOutputs, Needs, RowOutputs

logger = get_logger(__name__)

TeacherLike = TeacherCandidate | Teacher | str
_SAMPLE_ROWS = 32
"""Rows whose outputs stand for all where teachers run at every step: enough for the means and scales of a loss."""


def load_teachers(
    teachers: Sequence[TeacherLike],
    modality: Modality,
    device: torch.device,
    options: LoadOptions,
    target: LabelSpace | None = None,
) -> tuple[Teacher, ...]:
    """Teachers from candidates, Hub ids (`"org/model@revision"`), folders, either after "random:", or loaded ones.

    Args:
        teachers: of the run.
        modality: of the rows.
        device: where all of them are moved, those loaded before too.
        options: how they are fetched and loaded.
        target: classes of the target, for zero-shot image classifiers.

    Raises:
        TeacherUnavailableError: naming the first that cannot be used: a run has all its teachers or none.
    """
    return tuple(_load(teacher, modality, device, options, target) for teacher in teachers)


def _load(
    teacher: TeacherLike,
    modality: Modality,
    device: torch.device,
    options: LoadOptions,
    target: LabelSpace | None,
) -> Teacher:
    if isinstance(teacher, Teacher):
        return teacher.move(device)
    candidate = candidate_named(teacher) if isinstance(teacher, str) else teacher
    with _naming(candidate):
        return Teacher.load(candidate, modality, device=device, options=options, target=target)


@contextmanager
def _naming(candidate: TeacherCandidate) -> Iterator[None]:
    """Put the teacher's name before the reason why it cannot be used."""
    try:
        yield
    except TeacherUnavailableError as error:
        # What `fetch_teacher` says names the teacher already: its cause is the reason alone.
        reason = error.__cause__ if isinstance(error.__cause__, TeacherUnavailableError) else error
        raise TeacherUnavailableError(f"Teacher '{candidate.name}': {reason}", error.code) from error


def _require_finite(teacher: Teacher, not_finite: int, rows: int) -> None:
    if not_finite:
        raise TeacherUnavailableError(
            f"Teacher '{teacher.candidate.name}': its outputs are NaN or infinite for {not_finite} of {rows} rows. "
            "Such rows are left out only where teachers run once: `cache_teacher_outputs=True`, no `augmentation`, no "
            "stream and a loss without hidden layers. Train so, or choose another teacher.",
            ProblemCode.NOT_FINITE,
        )


def candidate_named(name: str) -> TeacherCandidate:
    """The one candidate of a Hub id (`"org/model@revision"`) or a folder, after "random:" with random weights.

    Args:
        name: id or folder.

    Raises:
        NoTeacherLeftError: if it holds no model, or several.
    """
    candidates = list(candidates_named(name))
    if len(candidates) != 1:
        raise NoTeacherLeftError(f"`teachers` names {name!r}, which holds {len(candidates)} models. Name one of them.")
    return candidates[0]


@dataclass(eq=False)
class PassCount:
    """Rows that teachers could have read in training, and those that they read, on this process.

    Args:
        offered: rows times teachers.
        read: of these, rows that a teacher ran on, or whose cached outputs were read.
        not_finite: by the index of a teacher that runs at every step, rows whose outputs were NaN or infinite; tensors
            on its device, as no step waits for them.
    """

    offered: int = 0
    read: int = 0
    not_finite: dict[int, Tensor | int] = field(default_factory=dict)

    @property
    def skipped(self) -> int:
        """Rows that the loss selected no teacher for."""
        return self.offered - self.read


@dataclass(frozen=True, eq=False)
class TeacherRunner:
    """The frozen teachers of a run, and their outputs over all training rows where these are computed once.

    Args:
        teachers: loaded.
        cached: outputs of each over all training rows, in row order, in memory or on disk; empty when they run at
            every step.
        hidden: layers of each teacher that the loss reads.
        layers: whether the loss reads pooled layers of all depths.
        max_layers: most of these.
        samples: outputs of each on a few rows, where they run at every step.
        offloading: bounds the teachers on the device; None for all.
        storage: options of `compute_outputs`: `workers`, `teacher_output_dtype` and `max_cache_bytes`.
        finite: the training rows that the loss reads, where outputs are computed once.
        micro_batches: by the index of a teacher that runs at every step, the rows that fit the memory at a time, where
            a batch did not.
        passes: counts the rows that they read in training.
    """

    teachers: tuple[Teacher, ...]
    cached: tuple[RowOutputs, ...] = ()
    hidden: tuple[int, ...] = ()
    layers: bool = False
    max_layers: int = MOST_LAYERS
    samples: tuple[ModelOutputs, ...] = ()
    offloading: DeviceOffloading | None = None
    storage: Mapping[str, Any] = field(default_factory=dict)
    finite: FiniteRows = field(default_factory=FiniteRows)
    micro_batches: dict[int, int] = field(default_factory=dict)
    passes: PassCount = field(default_factory=PassCount)

    @classmethod
    def load(
        cls,
        teachers: Sequence[TeacherLike],
        loss: DistillationLoss | None,
        modality: Modality,
        args: DistillationConfig,
        options: LoadOptions,
        target: LabelSpace | None = None,
    ) -> "TeacherRunner":
        """Load the teachers of a run as the loss reads them.

        Args:
            teachers: of the run.
            loss: that reads them.
            modality: of the rows.
            args: of the run: the device, and how many teachers it holds at a time.
            options: how they are fetched and loaded.
            target: classes of the target, for zero-shot image classifiers.

        Raises:
            TeacherUnavailableError: naming the first that cannot be used.
        """
        device, limit = args.device, args.resident_teachers
        return cls(
            load_teachers(teachers, modality, device if limit is None else torch.device("cpu"), options, target),
            hidden=() if loss is None else tuple(pair[1] for pair in loss.hidden),
            layers=loss is not None and Needs.LAYERS in loss.needs,
            max_layers=args.teacher_layers,
            offloading=None if limit is None else DeviceOffloading(device, limit),
            storage={
                "workers": args.teacher_workers,
                "teacher_output_dtype": torch.float16 if args.teacher_output_dtype == "float16" else torch.float32,
                "max_cache_bytes": args.max_cache_bytes,
            },
        )

    def before_training(
        self,
        rows: TargetRows,
        *,
        once: bool,
        fits: bool,
        accelerator: Accelerator,
        batch_size: int,
        cache_dir: Path | str | None,
        progress: bool = True,
    ) -> tuple["TeacherRunner", tuple[RowOutputs, ...]]:
        """Run the teachers over all training rows if they run once or the loss fits on their outputs, else over a few.

        Args:
            rows: the training rows.
            once: whether teachers run once instead of at every step.
            fits: whether the loss fits on their outputs on all rows.
            accelerator: as in `outputs_of_all`.
            batch_size: as in `outputs_of_all`.
            cache_dir: as in `outputs_of_all`.
            progress: as in `outputs_of_all`.

        Returns:
            The teachers as they run in training, and the outputs that the loss is set up with: those of the rows
            `finite`.
        """
        outputs: tuple[ModelOutputs | StoredOutputs, ...] = ()
        if once or fits:
            outputs = self.outputs_of_all(
                rows,
                accelerator=accelerator,
                batch_size=batch_size,
                cache_dir=cache_dir,
                progress=progress,
                max_not_finite=MOST_NOT_FINITE if once else 0.0,
            )
        if once:
            finite = FiniteRows.of(outputs, [teacher.candidate.name for teacher in self.teachers])
            return replace(self, cached=finite.with_stand_ins(outputs), finite=finite), finite.outputs(outputs)
        samples = self.outputs_of_some(rows, batch_size=batch_size)
        return replace(self, samples=samples), outputs or samples

    def outputs_of_all(
        self,
        rows: TargetRows,
        *,
        accelerator: Accelerator,
        batch_size: int,
        cache_dir: Path | str | None,
        progress: bool = True,
        max_not_finite: float = 0.0,
    ) -> tuple[ModelOutputs | StoredOutputs, ...]:
        """Outputs of every teacher on all rows, computed or read from the cache.

        Args:
            rows: the training rows.
            accelerator: the processes that share the work.
            batch_size: rows a forward pass, to begin with; at least 1.
            cache_dir: folder of caches; None to keep the outputs in memory.
            progress: whether the main process shows a progress bar.
            max_not_finite: as in `compute_outputs`.

        Raises:
            TeacherUnavailableError: naming the first teacher that cannot be run.
        """
        compute = partial(
            compute_outputs,
            rows=rows,
            accelerator=accelerator,
            batch_size=batch_size,
            cache_dir=cache_dir,
            progress=progress,
            layers=self.layers,
            max_layers=self.max_layers,
            max_not_finite=max_not_finite,
            **self.storage,
        )
        outputs = []
        for index, teacher in enumerate(self.teachers):
            with _naming(teacher.candidate):
                outputs.append(compute(teacher=self.ready(index)))
        if self.offloading is not None:
            self.offloading.clear()  # the device is free for the student until a teacher runs again
        return tuple(outputs)

    def outputs_of_some(self, rows: TargetRows, *, batch_size: int) -> tuple[ModelOutputs, ...]:
        """Outputs of every teacher on a few rows spread over all, with the hidden layers that the loss reads.

        Args:
            rows: the training rows.
            batch_size: rows that fit a forward pass; at most 32 are used.

        Raises:
            TeacherUnavailableError: if outputs of one are NaN or infinite.
        """
        count = min(_SAMPLE_ROWS, batch_size, len(rows))
        contents = rows.inputs([number * len(rows) // count for number in range(count)])
        samples = []
        for teacher in (self.ready(index) for index in range(len(self.teachers))):
            inputs = teacher.collate(contents)
            outputs = teacher.outputs(inputs, self.hidden, layers=self.layers, max_layers=self.max_layers).to("cpu")
            _require_finite(teacher, int((~finite_rows(named_tensors(outputs))).sum()), count)
            samples.append(outputs)
        return tuple(samples)

    def ready(self, index: int) -> Teacher:
        """One of the teachers, on its device."""
        teacher = self.teachers[index]
        return teacher if self.offloading is None else self.offloading.enter(teacher)

    def outputs(
        self, batch: Mapping[str, Any], selected: Bool[Tensor, "batch teachers"] | None = None
    ) -> tuple[ModelOutputs, ...]:
        """Outputs of every teacher on the rows of a batch, on the batch's device, without gradient.

        Args:
            batch: from the collator.
            selected: which rows each teacher reads; None for all. It does not run on the others, whose cached outputs
                are not read either, and its outputs are of the selected rows alone.

        Raises:
            InvalidArgumentError: if teachers are to run but the batch holds no inputs for them.
        """
        numbers = batch["numbers"]
        self.passes.offered += len(numbers) * len(self.teachers)
        self.passes.read += len(numbers) * len(self.teachers) if selected is None else int(selected.sum())
        if self.cached:
            masks = [slice(None)] * len(self.cached) if selected is None else selected.unbind(1)
            pairs = zip(self.cached, masks, strict=True)
            return tuple(outputs.select(numbers[mask].cpu()).to(numbers.device) for outputs, mask in pairs)
        if len(batch["teacher_inputs"]) != len(self.teachers):
            raise InvalidArgumentError(
                f"The batch must hold inputs for each of {len(self.teachers)} teachers, "
                f"got {len(batch['teacher_inputs'])}. Use the trainer's own collator on its training rows."
            )
        # In the precision of their weights even where the student runs in a lower one.
        with torch.autocast(numbers.device.type, enabled=False):
            outputs = [self._run(index, inputs, selected) for index, inputs in enumerate(batch["teacher_inputs"])]
        return tuple(part.to(numbers.device) for part in outputs)

    def _run(self, index: int, inputs: dict[str, Tensor], selected: Tensor | None) -> ModelOutputs:
        if selected is not None:
            rows = selected[:, index].nonzero()[:, 0]
            if not len(rows):
                return self.samples[index].select(rows.cpu())  # no row, of the right widths
            inputs = {name: values[rows] for name, values in inputs.items()}
        outputs = self._in_micro_batches(index, inputs)
        not_finite = (~finite_rows(named_tensors(outputs))).sum()
        self.passes.not_finite[index] = self.passes.not_finite.get(index, 0) + not_finite
        return outputs

    def _in_micro_batches(self, index: int, inputs: Mapping[str, Tensor]) -> ModelOutputs:
        """Outputs of a batch, in parts from the first batch on that does not fit the memory beside the student."""
        teacher, rows = self.ready(index), len(next(iter(inputs.values())))

        def run(part: slice) -> ModelOutputs | None:
            batch = {name: values[part] for name, values in inputs.items()}
            try:
                return teacher.outputs(batch, self.hidden, layers=self.layers, max_layers=self.max_layers)
            except (RuntimeError, MemoryError) as error:
                if not does_not_fit(error):
                    raise
                return None

        most = min(rows, self.micro_batches.get(index, rows))
        with _naming(teacher.candidate):
            parts, size = in_micro_batches(run, rows, most, teacher.device)
        if size < most:
            logger.warning(
                f"{rows} rows do not fit the memory of {teacher.device}: {teacher.candidate.name} runs {size}"
                " rows at a time from now on."
            )
            self.micro_batches[index] = size
        return parts[0] if len(parts) == 1 else joined(parts)

    def require_finite(self) -> None:
        """Refuse to go on if a teacher that runs at every step gave NaN or infinity; it is read when the trainer logs.

        Raises:
            TeacherUnavailableError: naming the teacher.
        """
        for index, count in self.passes.not_finite.items():
            _require_finite(self.teachers[index], int(count), self.passes.offered // len(self.teachers))


def run_before_training(
    runner: TeacherRunner,
    rows: TargetRows | None,
    loss: DistillationLoss | None,
    args: DistillationConfig,
    accelerator: Accelerator,
    *,
    once: bool,
    cache_dir: Path,
) -> tuple[TeacherRunner, tuple[RowOutputs, ...], bool]:
    """The teachers as they run in training, the outputs that the loss is set up with, and whether they run once.

    Where the disk is full they run at every step; a loss that fits on all outputs then has them in memory.

    Args:
        runner: the loaded teachers.
        rows: the training rows; None where there is no training.
        loss: of the run.
        args: of the run.
        accelerator: the processes that share the work.
        once: whether teachers are to run once instead of at every step.
        cache_dir: folder of caches.

    Raises:
        DiskFullError: if the loss has targets that are computed once or not at all.
    """
    if rows is None or loss is None or not runner.teachers:
        return runner, (), once
    before_training = partial(
        runner.before_training,
        rows,
        fits=Needs.FIT in loss.needs,
        accelerator=accelerator,
        batch_size=args.teacher_batch_size,
        progress=not args.disable_tqdm,
    )
    try:
        return *before_training(once=once, cache_dir=cache_dir), once
    except DiskFullError as error:
        if Needs.STUDENT in loss.needs:
            raise
        logger.warning(f"{error} The teachers run at every step instead.")
    return *before_training(once=False, cache_dir=None), False
