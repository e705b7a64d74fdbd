"""The rows that a command works on: from the Hub, from a folder or file, or built in."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import datasets
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, DatasetDict, NamedSplit, ReadInstruction, Value
from datasets.exceptions import DatasetsError
from pyarrow.lib import ArrowException
from transformers.utils.logging import get_logger

from hf_ctkd.cli.arguments import RowArguments
from hf_ctkd.data.columns import find_label
from hf_ctkd.data.splits import in_class_order
from hf_ctkd.demo.tasks import DemoTask, build_task
from hf_ctkd.errors import DatasetError

logger = get_logger(__name__)

BUILT_IN = "demo:"
_EVALUATION = ("test", "validation", "valid", "dev", "eval")
_FILES = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json", ".arrow": "arrow"}
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_ADVICE = "Check `--dataset`, `--split` and `--dataset_config`, or name a folder."
_SAVED = ("dataset_dict.json", "state.json")
# Readers of files meet whatever a damaged file holds: rows that are no objects, no rows, lists without an end.
_REFUSALS = (
    *(OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError, StopIteration, OverflowError),
    *(RuntimeError, DatasetsError, ArrowException),
)

Result = TypeVar("Result")


def _check_cache() -> None:
    """Refuse a cache of datasets that cannot be written, which its errors do not tell from other reasons."""
    folder = Path(datasets.config.HF_DATASETS_CACHE)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DatasetError(
            f"The cache of data sets, {folder}, cannot be written ({error.strerror}). Set `HF_HOME` or "
            "`HF_DATASETS_CACHE` to a folder that can be written."
        ) from error


@dataclass(frozen=True)
class Rows:
    """A data set as named on the command line, of which splits are loaded.

    Args:
        name: id on the Hub, folder, file, or `demo:NAME`.
        config: configuration of a data set that has several.
        labels: rows that keep their label, of built-in data.
        seed: chooses these.
        flag: that named the data set, for messages.

    Example:
        >>> rows = Rows("demo:digits", labels=50)
        >>> rows.split_names, len(rows.load("train"))
        (('train', 'validation', 'test'), 600)
    """

    name: str
    config: str | None = None
    labels: int = 50
    seed: int = 0
    flag: str = "--dataset"

    @classmethod
    def of(cls, arguments: RowArguments, *, seed: int) -> "Rows":
        """From the flags of a command.

        Args:
            arguments: which rows.
            seed: chooses which of built-in rows keep their label.
        """
        return cls(arguments.dataset, arguments.dataset_config, arguments.labels, seed)

    def load(self, split: str, *, label_column: str | None = None) -> Dataset:
        """Raw rows of a split, which may be cut as in `train[:100]`; its info bears the name that was given.

        A split in class order is shuffled before it is cut, in the same order for all its parts.

        Args:
            split: its name, with or without a cut.
            label_column: column of labels; found by its type or usual name when None.

        Raises:
            DatasetError: if there is no such data set or split, or it cannot be read.
        """
        if self._task is not None or self._saved is not None:
            rows = self._part(split)
        else:
            path, settings = self._where
            rows = self._load_or_refuse(lambda: datasets.load_dataset(path, self.config, split=split, **settings))
            rows = self._of_all_classes(rows, split, label_column)
        rows = _whole_numbers_with_gaps(rows)
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
        return tuple(
            map(str, self._load_or_refuse(lambda: datasets.get_dataset_split_names(path, self.config, **settings)))
        )

    def require_split(self, split: str, flag: str) -> None:
        """Refuse a split that does not exist, without loading it.

        Args:
            split: its name, with or without a cut, or several with a plus between them.
            flag: that named it, for the message.

        Raises:
            DatasetError: naming the splits.
        """
        for part in split.split("+"):
            if part.partition("[")[0].strip() not in self.split_names:
                raise DatasetError(f"`{flag}` {split!r} is not in {self.name}; it has {', '.join(self.split_names)}.")

    def evaluation_split(self, train: str) -> str | None:
        """The split to evaluate on when none is named: the test rows, else validation rows, else None."""
        return next(
            (name for name in _EVALUATION if name in self.split_names and name != train.partition("[")[0]), None
        )

    def _of_all_classes(self, rows: Dataset, split: str, label_column: str | None) -> Dataset:
        """The rows of a cut, drawn from the shuffled split where this stands in class order."""
        name = split.partition("[")[0]
        if name == split or "+" in split:
            return rows
        path, settings = self._where
        whole = datasets.load_dataset(path, self.config, split=name, **settings)
        labels = _class_column(whole, label_column)
        if labels is None or not in_class_order(whole.select_columns(labels)[:][labels]):
            return rows
        logger.warning(
            f"The rows of {name} stand in class order: they are shuffled (seed {self.seed}) before {split} is cut."
        )
        (cut,) = ReadInstruction.from_spec(split).to_absolute({name: len(whole)})
        return whole.shuffle(seed=self.seed).select(range(cut.from_ or 0, len(whole) if cut.to is None else cut.to))

    @cached_property
    def _task(self) -> DemoTask | None:
        if not self.name.startswith(BUILT_IN):
            return None
        return build_task(self.name.removeprefix(BUILT_IN), labels=self.labels, seed=self.seed)

    @cached_property
    def _saved(self) -> Dataset | DatasetDict | None:
        if not any((Path(self.name) / mark).is_file() for mark in _SAVED):
            return None
        return self._load_or_refuse(lambda: datasets.load_from_disk(self.name))

    @cached_property
    def _where(self) -> tuple[str, dict[str, str]]:
        path = Path(self.name)
        if not path.exists() and (self.name.startswith((".", "/", "~")) or path.suffix in _FILES):
            raise DatasetError(f"`{self.flag}` {self.name!r} does not exist. Check the spelling.")
        if path.is_file():
            if path.suffix not in _FILES:
                raise DatasetError(f"`{self.flag}` {self.name!r} must end in one of {', '.join(_FILES)}.")
            self._check_pointer(path)
            return _FILES[path.suffix], {"data_files": self.name}
        if not path.exists() and "/" not in self.name:
            # The Hub has a few such names, but more often it is a folder that is misspelt.
            logger.warning(f"`{self.flag}` {self.name!r} is no folder or file here: it is looked up on the Hub.")
        for file in self._data_files(path):
            self._check_pointer(file)
        return self.name, {}

    @staticmethod
    def _data_files(folder: Path) -> list[Path]:
        return [file for file in folder.glob("*") if file.suffix in _FILES and file.is_file()]

    def _check_pointer(self, file: Path) -> None:
        """Refuse a pointer of Git LFS, which a CSV reader would take for rows."""
        try:
            with file.open("rb") as stream:
                head = stream.read(len(_LFS_POINTER))
        except OSError as error:
            raise DatasetError(f"`{self.flag}` {file} cannot be read: {error.strerror}. Check the file.") from error
        if head == _LFS_POINTER:
            raise DatasetError(
                f"`{self.flag}` {file} is a pointer of Git LFS, not the data. Run `git lfs pull` in its folder."
            )

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

    def _load_or_refuse(self, load: Callable[[], Result]) -> Result:
        try:
            return load()
        except _REFUSALS as error:
            _check_cache()
            reason = " ".join(str(error).split()).rstrip(".")[:300] or type(error).__name__
            missing = "" if Path(self.name).exists() else "it is no folder or file here, and on the Hub: "
            raise DatasetError(
                f"`{self.flag}` {self.name!r} cannot be loaded: {missing}{reason}. "
                f"{_ADVICE if self.flag == '--dataset' else 'Check the file.'}"
            ) from error


def _class_column(rows: Dataset, label_column: str | None) -> str | None:
    """The column of classes, None without any: whole numbers, names or truth values."""
    try:
        column = find_label(rows.features, label_column)
    except DatasetError:  # for the reader of the rows to say, where labels are needed
        return None
    feature = rows.features[column]
    is_class = isinstance(feature, ClassLabel) or (isinstance(feature, Value) and "float" not in feature.dtype)
    return column if is_class else None


def _whole_numbers_with_gaps(rows: Dataset) -> Dataset:
    """Columns of a CSV file as they were written: pandas makes fractions of whole numbers where one is missing."""
    if rows.info.builder_name != "csv":
        return rows
    for name, feature in rows.features.items():
        if feature != Value("float64"):
            continue
        values = rows.data.column(name)
        if values.null_count and bool(pc.all(pc.equal(values, pc.round(values))).as_py()):
            logger.warning(
                f"`{name}` holds whole numbers, {values.null_count} of which are missing: it is read as such."
            )
            rows = rows.cast_column(name, Value("int64"))
    return rows
