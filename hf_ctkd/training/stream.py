"""Training rows that are read as they come, from a `datasets.IterableDataset`; its first rows set up the loss."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice

import datasets
from datasets import Image
from torch.utils.data import IterableDataset
from transformers.trainer_pt_utils import AcceleratorConfig
from transformers.utils.logging import get_logger

from hf_ctkd.data import TargetRows
from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.tasks import StudentTask
from hf_ctkd.training.collator import Row, RowDataset
from hf_ctkd.training.config import DistillationConfig

logger = get_logger(__name__)

_ROWS_A_PART = 64
"""Rows that are read and checked together."""


@dataclass(frozen=True, eq=False)
class Stream:
    """A stream of training rows with its first rows as a data set.

    Args:
        rows: the stream, images as they are stored.
        first: its first rows.
    """

    rows: datasets.IterableDataset
    first: datasets.Dataset

    @classmethod
    def of(cls, dataset: object, args: DistillationConfig) -> "Stream | None":
        """A stream; None for what is none.

        Args:
            dataset: as given to the trainer.
            args: of the run: `max_steps`, and how many rows set up the loss.

        Raises:
            InvalidArgumentError: if the run has no number of steps.
            DatasetError: if the stream is empty.
        """
        if not isinstance(dataset, datasets.IterableDataset):
            return None
        if args.max_steps < 1:
            raise InvalidArgumentError(
                f"`max_steps` must be positive for a stream, whose length is not known, got {args.max_steps}. Set it "
                "in `args`."
            )
        if isinstance(args.accelerator_config, AcceleratorConfig):
            args.accelerator_config.dispatch_batches = False  # accelerate cuts batches by the first size of any tensor
        rows = _not_decoded(dataset)
        examples = list(rows.take(args.stream_rows))
        if not examples:
            raise DatasetError("`train_dataset` is a stream without rows. Check its source.")
        logger.warning(
            f"The first {len(examples)} rows of the stream set up the loss and show its classes (`stream_rows`): where "
            "it stands in class order, call its `shuffle(buffer_size=...)` first."
        )
        return cls(rows, datasets.Dataset.from_list(examples, features=dataset.features))


class StreamedRows(IterableDataset):
    """Rows of a stream for a `DataLoader`; teachers run on them at every step.

    Args:
        stream: the training rows.
        like: its first rows, with columns and classes.
        task: how the student's labels are read.
        only_labelled: leave out rows without a label, which teach nothing without teachers.

    Raises:
        DatasetError: naming a row that cannot be used, while the stream is read.
    """

    def __init__(self, stream: Stream, like: TargetRows, task: StudentTask, *, only_labelled: bool) -> None:
        self.stream = stream
        self.like = like
        self.task = task
        self.only_labelled = only_labelled

    def __iter__(self) -> Iterator[Row]:
        """The rows in the order of the stream, numbered from 0; a worker reads its own shards of it."""
        examples = iter(self.stream.rows)  # which looks for the worker that it runs in
        for part in count():
            rows = list(islice(examples, _ROWS_A_PART))
            if not rows:
                return
            yield from self._part(rows, part * _ROWS_A_PART)

    def set_epoch(self, epoch: int) -> None:
        """Shuffle a shuffled stream anew; `Trainer` calls it."""
        self.stream.rows.set_epoch(epoch)

    def _part(self, examples: list[dict], start: int) -> Iterator[Row]:
        dataset = datasets.Dataset.from_list(examples, features=self.stream.first.features)
        try:
            rows = self.task.rows_to_predict(dataset, self.like)
            chosen = self.task.rows_with_label(rows) if self.only_labelled else range(len(rows))
            part = RowDataset(rows, train=True, task=self.task)
            for number in chosen:
                row = part[number]
                yield Row(start + number, row.content, row.label, train=True)
        except DatasetError as error:
            raise DatasetError(f"Rows {start} to {start + len(examples) - 1} of the stream: {error}") from error


def _not_decoded(stream: datasets.IterableDataset) -> datasets.IterableDataset:
    """The stream with images as they are stored: decoded ones would have to be encoded again to be checked."""
    for name, feature in (stream.features or {}).items():
        if isinstance(feature, Image):
            stream = stream.cast_column(name, Image(mode=feature.mode, decode=False))
    return stream
