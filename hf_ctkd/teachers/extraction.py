"""Feature extraction: a teacher over the rows of a data set, in batches that a DataLoader prepares."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from hf_ctkd.data import TargetRows
from hf_ctkd.errors import CTKDError, InvalidArgumentError, ProblemCode, TeacherUnavailableError
from hf_ctkd.teachers.cache import finite_rows_of, from_named, named_tensors
from hf_ctkd.teachers.failures import skipped_on_failure
from hf_ctkd.teachers.layers import MOST_LAYERS
from hf_ctkd.teachers.micro_batches import in_micro_batches
from hf_ctkd.teachers.output_checks import finite_rows, not_finite, shape_fault
from hf_ctkd.teachers.processes import on_all
from hf_ctkd.teachers.teacher import Teacher, TeacherCollator
from hf_ctkd.types import ModelOutputs

MOST_BATCH_BYTES = 1 << 30
"""Largest batch of preprocessed rows; a processor that makes large images gets smaller batches to begin with."""
# Devices whose copies from pinned memory run while the device computes.
_PINNED = ("cuda", "xpu")

Batch = tuple[list[int], dict[str, Tensor] | CTKDError]
"""Row numbers with their preprocessed inputs, or with the error that preprocessing raised."""


class FeatureExtractor:
    """Runs one teacher over rows, each process of an `Accelerator` over its share.

    `compute_outputs` uses it for selection, committees, training and benchmarks alike. Batches are read and
    preprocessed by a DataLoader (in worker processes, if there are any, while the teacher runs). A batch that does not
    fit the memory is run in halves. Outputs are checked before anybody stores them.

    Args:
        teacher: on its device.
        rows: raw rows.
        accelerator: the processes that share the work.
        batch_size: rows a forward pass on each process, to begin with.
        workers: processes that prepare batches; 0 to prepare them in this one.
        layers: also pool layers of all depths.
        max_layers: largest number of these.
        dtype: of the outputs; numbers beyond its range count as not finite.
        autocast_dtype: run the teacher under autocast in this dtype; None in that of its weights.
        timeout: seconds from now after which no further batch is run; None for no limit.
        max_not_finite: largest share of the rows whose outputs may hold NaN or infinity; all their outputs become NaN.
    """

    def __init__(
        self,
        teacher: Teacher,
        rows: TargetRows,
        accelerator: Accelerator,
        *,
        batch_size: int,
        workers: int = 0,
        layers: bool = False,
        max_layers: int = MOST_LAYERS,
        dtype: torch.dtype = torch.float32,
        autocast_dtype: torch.dtype | None = None,
        timeout: float | int | None = None,
        max_not_finite: float = 0.0,
    ) -> None:
        self.teacher = teacher
        self.rows = rows
        self.accelerator = accelerator
        self.batch_size = batch_size
        self.workers = workers
        self.layers = layers
        self.max_layers = max_layers
        self.dtype = dtype
        self.autocast_dtype = autocast_dtype
        self.timeout = timeout
        self.max_not_finite = max_not_finite
        self._not_finite = 0
        self._start = time.monotonic()
        self._widths: dict[str, int] | None = None

    def shards(self, row_numbers: Sequence[int], size: int, bar: tqdm) -> Iterator[tuple[list[int], ModelOutputs]]:
        """The outputs of some rows, `size` rows at a time, with the rows in the order of the outputs.

        Every process gets the same, on the CPU.

        Args:
            row_numbers: which rows, each once.
            size: rows of one shard; a batch never reaches over two.
            bar: moved on by each row.

        Raises:
            DatasetError: a row that cannot be read.
            TeacherUnavailableError: the teacher cannot be run, or its outputs are malformed.
        """
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        starts = range(0, len(row_numbers), size)
        shards = [row_numbers[start : start + size] for start in starts]
        # Every n-th row, so that long texts fall on all processes alike.
        self.batch_size = self._rows_that_fit(row_numbers[rank : rank + 1])
        batches = [_batches(shard[rank::processes], self.batch_size) for shard in shards]
        loader = iter(self._loader([batch for shard_batches in batches for batch in shard_batches]))
        for shard, shard_batches in zip(shards, batches, strict=True):
            outputs = self._joined(on_all(self.accelerator, partial(self._run, loader, len(shard_batches), bar)))
            bar.update(len(shard) - len(shard[rank::processes]))
            shard_rows = [row for process in range(processes) for row in shard[process::processes]]
            finite = finite_rows_of(outputs)
            self._not_finite += int((~finite).sum())
            if not finite.all():
                self.check_share(self._not_finite, shard_rows[int(finite.int().argmin())])
            yield shard_rows, outputs
            del outputs  # or two shards would be in memory while the next one is computed

    def _rows_that_fit(self, first_row: Sequence[int]) -> int:
        """Rows of a batch, as many of them as the first row's inputs allow; texts come from long to short."""
        if not first_row:
            return self.batch_size
        _, inputs = _PreprocessedBatches(self.rows, self.teacher.collator)[list(first_row)]
        if isinstance(inputs, CTKDError):
            return self.batch_size
        row_bytes = sum(tensor.nbytes for tensor in inputs.values())
        return max(1, min(self.batch_size, MOST_BATCH_BYTES // max(row_bytes, 1)))

    def _loader(self, batches: list[list[int]]) -> DataLoader[Batch]:
        dataset = _PreprocessedBatches(self.rows, self.teacher.collator)
        return DataLoader(
            dataset,
            sampler=batches,
            batch_size=None,  # the sampler gives whole batches
            num_workers=self.workers,
            pin_memory=self.accelerator.device.type in _PINNED,
            generator=torch.Generator(),  # or each loader would draw from the caller's random numbers
        )

    def _run(self, loader: Iterator[Batch], batches: int, bar: tqdm) -> list[ModelOutputs]:
        parts = []
        for _ in range(batches):
            self._check_time()
            row_numbers, inputs = next(loader)
            if isinstance(inputs, CTKDError):
                raise inputs
            parts += self._run_batch(row_numbers, inputs, bar)
        return parts

    def _check_time(self) -> None:
        if self.timeout is not None and time.monotonic() - self._start > self.timeout:
            raise TeacherUnavailableError(
                f"running it over the rows takes more than {self.timeout:g} seconds (`timeout`). Allow more, or choose "
                "another; the rows that are stored need not be computed again.",
                ProblemCode.TIMED_OUT,
            )

    def _run_batch(self, row_numbers: list[int], inputs: Mapping[str, Tensor], bar: tqdm) -> list[ModelOutputs]:
        def run(part: slice) -> ModelOutputs | None:
            outputs = self._try({name: tensor[part] for name, tensor in inputs.items()})
            if outputs is None:
                return None
            bar.update(part.stop - part.start)
            return self._marked(outputs, row_numbers[part])

        device = self.accelerator.device
        parts, self.batch_size = in_micro_batches(run, len(row_numbers), self.batch_size, device)
        return parts

    def _try(self, inputs: Mapping[str, Tensor]) -> ModelOutputs | None:
        """The outputs of one batch, None where it does not fit the memory."""
        device = self.accelerator.device.type
        try:
            with skipped_on_failure("cannot be run", ProblemCode.INCOMPATIBLE):
                with torch.autocast(device, dtype=self.autocast_dtype, enabled=self.autocast_dtype is not None):
                    outputs = self.teacher.outputs(inputs, layers=self.layers, max_layers=self.max_layers)
                tensors = named_tensors(outputs)
                self._check_shapes(tensors, len(next(iter(inputs.values()))))
                return from_named({name: tensor.cpu().to(self.dtype) for name, tensor in tensors.items()})
        except InvalidArgumentError as error:
            raise TeacherUnavailableError(f"cannot be run: {error}", ProblemCode.INCOMPATIBLE) from error
        except TeacherUnavailableError as error:
            if error.code is ProblemCode.TOO_LARGE:
                return None
            raise

    def _check_shapes(self, tensors: Mapping[str, Tensor], rows: int) -> None:
        """Refuse outputs that are no `[rows, width]`, or of other widths than those of the batches before."""
        space = self.teacher.label_space
        fault = shape_fault(tensors, rows, classes=None if space is None else len(space))
        if fault is not None:
            raise TeacherUnavailableError(fault, ProblemCode.INCOMPATIBLE)
        widths = {name: tensor.shape[1] for name, tensor in tensors.items()}
        if self._widths is not None and widths != self._widths:
            raise TeacherUnavailableError(
                f"its outputs have widths {widths}, but {self._widths} in a batch before", ProblemCode.INCOMPATIBLE
            )
        self._widths = widths

    def _marked(self, outputs: ModelOutputs, row_numbers: Sequence[int]) -> ModelOutputs:
        """The outputs of a batch, all NaN in rows that are not finite; refused where no row may be so."""
        tensors = named_tensors(outputs)
        fault = not_finite(tensors)
        if fault is None:
            return outputs
        if self.max_not_finite == 0:
            name, index = fault
            raise TeacherUnavailableError(
                f"its {name} are not finite{self._in_dtype}, first for row {int(self.rows.origin[row_numbers[index]])}",
                ProblemCode.NOT_FINITE,
            )
        marked = ~finite_rows(tensors)[:, None]
        return from_named({name: tensor.masked_fill(marked, torch.nan) for name, tensor in tensors.items()})

    def check_share(self, count: int, first: int) -> None:
        """Refuse a teacher whose outputs are not finite for more than the largest share of the rows.

        Args:
            count: rows that are not finite.
            first: number of one of them, for the message.

        Raises:
            TeacherUnavailableError: if they are too many.
        """
        if count > self.max_not_finite * len(self.rows):
            limit = f"; at most {self.max_not_finite:.0%} of them may be so" if self.max_not_finite else ""
            raise TeacherUnavailableError(
                f"its outputs are not finite{self._in_dtype} for {count} of {len(self.rows)} rows, such as row "
                f"{int(self.rows.origin[first])}{limit}",
                ProblemCode.NOT_FINITE,
            )

    @property
    def _in_dtype(self) -> str:
        return " in float16" if self.dtype == torch.float16 else ""

    def _joined(self, shares: Sequence[Sequence[ModelOutputs]]) -> ModelOutputs:
        named = [named_tensors(part) for share in shares for part in share]
        widths = {tuple((name, tensor.shape[1]) for name, tensor in part.items()) for part in named}
        if len(widths) > 1:  # each process compares its own batches alone
            raise TeacherUnavailableError(
                f"its outputs have other widths on each process: {sorted(widths)}", ProblemCode.INCOMPATIBLE
            )
        return from_named({name: torch.cat([part[name] for part in named]) for name in named[0]})


class _PreprocessedBatches(Dataset[Batch]):
    """Batches of preprocessed rows by their row numbers, for the workers of a DataLoader."""

    def __init__(self, rows: TargetRows, collator: TeacherCollator) -> None:
        self.rows = rows
        self.collator = collator

    def __getitem__(self, row_numbers: list[int]) -> Batch:
        # Errors are handed on as values: a DataLoader would put the worker's traceback into their messages.
        try:
            inputs = self.rows.inputs(row_numbers)
        except CTKDError as error:
            return row_numbers, error
        try:
            with skipped_on_failure("cannot be run", ProblemCode.INCOMPATIBLE):
                return row_numbers, self.collator(inputs)
        except InvalidArgumentError as error:
            return row_numbers, TeacherUnavailableError(f"cannot be run: {error}", ProblemCode.INCOMPATIBLE)
        except TeacherUnavailableError as error:
            return row_numbers, error


def _batches(row_numbers: Sequence[int], size: int) -> list[list[int]]:
    count = math.ceil(len(row_numbers) / size)
    return [list(row_numbers[index * size : (index + 1) * size]) for index in range(count)]
