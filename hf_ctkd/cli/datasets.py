"""The rows that a command works on: from the Hub, from a folder or file, or built in."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import datasets
from datasets import ClassLabel, Dataset, DatasetDict, NamedSplit, Value
from datasets.exceptions import DatasetsError
from pyarrow.lib import ArrowException

from hf_ctkd.cli.arguments import RowArguments
from hf_ctkd.demo.tasks import DemoTask, build_task
from hf_ctkd.errors import DatasetError

BUILT_IN = "demo:"
_UNLABELLED = -1
_EVALUATION = ("test", "validation", "valid", "dev", "eval")
_FILES = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json", ".arrow": "arrow"}
_SAVED = ("dataset_dict.json", "state.json")
_REFUSALS = (OSError, ValueError, DatasetsError, ArrowException)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Rows:
    """A data set as named on the command line, of which splits are loaded.

    Args:
        name: id on the Hub, folder, file, or `demo:NAME`.
        config: configuration of a data set that has several.
        labels: rows that keep their label, of built-in data.
        seed: chooses these.

    Example:
        >>> rows = Rows("demo:digits", labels=50)
        >>> rows.split_names, len(rows.load("train"))
        (('train', 'validation', 'test'), 600)
    """

    name: str
    config: str | None = None
    labels: int = 50
    seed: int = 0

    @classmethod
    def of(cls, arguments: RowArguments, *, seed: int) -> "Rows":
        """From the flags of a command.

        Args:
            arguments: which rows.
            seed: chooses which of built-in rows keep their label.
        """
        return cls(arguments.dataset, arguments.dataset_config, arguments.labels, seed)

    def load(self, split: str) -> Dataset:
        """Raw rows of a split, which may be cut as in `train[:100]`; its info bears the name that was given.

        Raises:
            DatasetError: if there is no such data set or split, or it cannot be read.
        """
        if self._task is not None or self._saved is not None:
            rows = self._part(split)
        else:
            path, settings = self._where
            rows = self._asked(lambda: datasets.load_dataset(path, split=split, **settings))
        rows.info.dataset_name = self.name
        return rows

    @cached_property
    def split_names(self) -> tuple[str, ...]:
        """Names of the splits.

        Raises:
            DatasetError: if there is no such data set, or it cannot be read.
        """
        if self._task is not None:
            return ("train", "validation", "test")
        if self._saved is not None:
            return tuple(self._saved) if isinstance(self._saved, DatasetDict) else ("train",)
        path, settings = self._where
        return tuple(map(str, self._asked(lambda: datasets.get_dataset_split_names(path, self.config, **settings))))

    def evaluation_split(self, train: str) -> str | None:
        """The split to evaluate on when none is named: the test rows, else validation rows, else None."""
        return next(
            (name for name in _EVALUATION if name in self.split_names and name != train.partition("[")[0]), None
        )

    @cached_property
    def _task(self) -> DemoTask | None:
        if not self.name.startswith(BUILT_IN):
            return None
        return build_task(self.name.removeprefix(BUILT_IN), labels=self.labels, seed=self.seed)

    @cached_property
    def _saved(self) -> Dataset | DatasetDict | None:
        if not any((Path(self.name) / mark).is_file() for mark in _SAVED):
            return None
        return self._asked(lambda: datasets.load_from_disk(self.name))

    @property
    def _where(self) -> tuple[str, dict[str, str]]:
        path = Path(self.name)
        if not path.exists() and (self.name.startswith((".", "/", "~")) or path.suffix in _FILES):
            raise DatasetError(f"`--dataset` {self.name!r} does not exist. Check the spelling.")
        if path.is_file():
            if path.suffix not in _FILES:
                raise DatasetError(f"`--dataset` {self.name!r} must end in one of {', '.join(_FILES)}.")
            return _FILES[path.suffix], {"data_files": self.name}
        return self.name, {} if self.config is None else {"name": self.config}

    def _part(self, split: str) -> Dataset:
        if split not in self.split_names:
            raise DatasetError(f"`--split` {split!r} is not in {self.name}; it has {', '.join(self.split_names)}.")
        task = self._task
        if task is not None:
            parts = {"train": task.train, "validation": lambda: task.validation, "test": lambda: task.test}
            # Rows put together in memory have no split yet, and records say which rows were evaluated on.
            rows = parts[split]().flatten_indices()
            return Dataset(rows.data, info=rows.info.copy(), split=NamedSplit(split))
        return self._saved[split] if isinstance(self._saved, DatasetDict) else self._saved

    def _asked(self, load: Callable[[], Result]) -> Result:
        try:
            return load()
        except _REFUSALS as error:
            reason = " ".join(str(error).split()).rstrip(".")[:300] or type(error).__name__
            raise DatasetError(
                f"`--dataset` {self.name!r} cannot be loaded: {reason}. "
                "Check `--dataset`, `--split` and `--dataset_config`, or name a folder."
            ) from error


def encode_labels(train: Dataset, column: str | None, *others: Dataset) -> tuple[Dataset, ...]:
    """Make class ids of label names, the same in every data set; a missing or empty name means no label.

    Args:
        train: its names are the classes, in alphabetical order.
        column: of the labels; "label" when None.
        others: data sets in which the same names stand.

    Raises:
        DatasetError: if the column is missing or holds no strings, or another data set has a name of its own.
    """
    column = column or "label"
    for dataset in (train, *others):
        feature = dataset.features.get(column)
        if not (isinstance(feature, Value) and "string" in feature.dtype):
            raise DatasetError(f"`--encode_labels` needs strings in column {column!r}, got {feature}. Leave it out.")
    names = sorted({name for name in train[column] if name})
    feature = ClassLabel(names=names)
    return tuple(_encoded(dataset, column, feature) for dataset in (train, *others))


def _encoded(dataset: Dataset, column: str, feature: ClassLabel) -> Dataset:
    numbers = {name: number for number, name in enumerate(feature.names)}
    values = dataset[column][:]
    unknown = sorted({name for name in values if name and name not in numbers})
    if unknown:
        raise DatasetError(
            f"Class {unknown[0]!r} stands in evaluation rows but in no training row. Leave such rows out."
        )
    ids = [numbers[name] if name else _UNLABELLED for name in values]
    return dataset.remove_columns(column).add_column(column, ids, feature=feature)
