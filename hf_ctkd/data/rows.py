"""The user's data set as raw rows: its columns, checked labels, and a digest that identifies each row."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
import xxhash
from datasets import ClassLabel, Dataset, Features, Image, LargeList, List, Value
from jaxtyping import Int
from PIL import Image as PILImage
from torch import Tensor

from hf_ctkd.data.columns import InputColumn, and_, find_inputs, find_label, require_column
from hf_ctkd.data.images import UNDECODABLE, ImageColumn
from hf_ctkd.data.labels import class_ids
from hf_ctkd.data.progress import row_bar
from hf_ctkd.errors import DatasetError
from hf_ctkd.types import UNLABELLED, LabelSpace

Modality = Literal["image", "text"]
RowInput = PILImage.Image | str | tuple[str, str]
"""The raw content of one row: an image, a text, or a pair of texts in the order in which models read them."""
_TEXTS_A_PART = 1000


@dataclass(frozen=True, eq=False)
class TargetRows:
    """Raw rows of a classification data set, checked once, for models with different preprocessing.

    Build it with `TargetRows.of`. Rows whose label is None, -1 or -100 are unlabelled.

    Args:
        dataset: the rows.
        modality: `"image"` or `"text"`.
        input_columns: column of images or texts, or the two columns of a text pair, in order.
        label_column: column of labels; rows to predict may lack it.
        label_space: the classes.
        labels: `[rows]`, -100 where a row has no label.
        origin: `[rows]`, index of each row in the user's data set, for messages.

    Example:
        >>> rows = TargetRows.of(load_dataset("my/flowers", split="train"))  # doctest: +SKIP
        >>> len(rows), rows.modality, len(rows.label_space)  # doctest: +SKIP
        (1020, 'image', 102)
    """

    dataset: Dataset
    modality: Modality
    input_columns: tuple[str, ...]
    label_column: str
    label_space: LabelSpace
    labels: Int[Tensor, "rows"]
    origin: Int[Tensor, "rows"]

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        *,
        input_column: InputColumn | None = None,
        label_column: str | None = None,
        skip_bad_rows: bool = False,
        evaluation: bool = False,
        label_space: LabelSpace | None = None,
    ) -> "TargetRows":
        """Find the columns, check labels and texts, and optionally drop bad rows.

        Args:
            dataset: one split of a data set, with raw images or texts, and classes as whole numbers or names.
            input_column: column of images or texts, or two columns of texts that are read as a pair, in that order;
                found by feature type and usual names when None.
            label_column: column of labels; found by its feature type or usual name when None.
            skip_bad_rows: leave out empty texts, images that cannot be decoded or have more than 8 bits a channel, and
                the rows of classes with a single row, instead of stopping at the first one. Images are then all
                decoded once beforehand.
            evaluation: the rows serve evaluation alone: any number of classes, and of rows a class, is accepted.
            label_space: classes of other rows, among which labels are looked up; None to take those of these rows.

        Raises:
            DatasetError: no usable column, labels that are no classes, a single class, or a bad row (its index is
                given).
        """
        require_rows(dataset)
        dataset = dataset.with_format(None)
        label_column = find_label(dataset.features, label_column)
        label_space, labels = class_ids(dataset, label_column, label_space=label_space)
        columns = find_inputs(dataset.features, input_column, label_column)
        modality = _modality(dataset.features, columns)
        rows = cls(dataset, modality, columns, label_column, label_space, labels, torch.arange(len(dataset)))
        return rows._checked(skip_bad_rows, evaluation)

    @classmethod
    def to_predict(cls, dataset: Dataset, like: "TargetRows") -> "TargetRows":
        """Rows to predict: none needs a label, and none is left out.

        Args:
            dataset: one split of a data set, with raw images or texts; labels are read if it has any.
            like: rows with the same columns and classes.

        Raises:
            DatasetError: no such input column, labels that are not class ids, or an empty text (its row is given).
        """
        require_rows(dataset)
        dataset = dataset.with_format(None)
        columns = find_inputs(dataset.features, like.input_columns)
        label_space, labels = like.label_space, torch.full((len(dataset),), UNLABELLED)
        if like.label_column in dataset.features:
            label_space, labels = class_ids(dataset, like.label_column, label_space=label_space, required=False)
        origin, modality = torch.arange(len(dataset)), _modality(dataset.features, columns)
        rows = cls(dataset, modality, columns, like.label_column, label_space, labels, origin)
        return rows._checked(skip_bad_rows=False, evaluation=True)

    @classmethod
    def with_raw_labels(
        cls,
        dataset: Dataset,
        label_space: LabelSpace,
        *,
        label_column: str,
        input_column: InputColumn | None = None,
        skip_bad_rows: bool = False,
        prediction: bool = False,
    ) -> "TargetRows":
        """Rows whose labels are no class ids but masks, numbers or lists, which the student's task reads one by one.

        Args:
            dataset: one split, with raw images or texts.
            label_space: what the labels tell apart; they are not looked at here.
            label_column: column of labels.
            input_column: column of images or texts, or two columns of texts that are read as a pair; found among the
                other columns by feature type and usual names when None.
            skip_bad_rows: leave out empty texts and images that cannot be decoded or have more than 8 bits a channel,
                instead of stopping at the first one.
            prediction: the rows are only to be predicted, and the column of labels may be missing.

        Raises:
            DatasetError: no usable column, or an empty text (which is named).
        """
        require_rows(dataset)
        dataset = dataset.with_format(None)
        if not prediction:
            require_column(dataset.features, "label_column", label_column)
        columns = find_inputs(dataset.features, input_column, label_column)
        labels, modality = torch.full((len(dataset),), UNLABELLED), _modality(dataset.features, columns)
        rows = cls(dataset, modality, columns, label_column, label_space, labels, torch.arange(len(dataset)))
        return rows._checked(skip_bad_rows, evaluation=True)

    def _checked(self, skip_bad_rows: bool, evaluation: bool) -> "TargetRows":
        bad = self._bad_texts() if self.modality == "text" else []
        if skip_bad_rows and self.modality == "image":
            bad = self._bad_images()
        if bad and not skip_bad_rows:
            raise DatasetError(
                f"Row {int(self.origin[bad[0]])} of {and_(self.input_columns)} is empty ({len(bad)} such rows). "
                "Repair it, or pass `skip_bad_rows=True` to leave such rows out, except of predictions."
            )
        rows = self
        if bad:
            skipped = set(bad)
            rows = self.select([row for row in range(len(self)) if row not in skipped])
        if evaluation:
            return rows
        counts = torch.bincount(rows.labels[rows.labels != UNLABELLED], minlength=len(self.label_space))
        if skip_bad_rows and (counts == 1).any():
            single = {int(label) for label in (counts == 1).nonzero()}
            rows = rows.select([row for row, label in enumerate(rows.labels.tolist()) if label not in single])
            counts[list(single)] = 0
        if int((counts > 0).sum()) < 2:
            raise DatasetError(
                f"`{self.label_column}` must hold at least two classes with labelled rows, got "
                f"{int((counts > 0).sum())}. Label rows of other classes too."
            )
        return rows

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.dataset)

    def select(self, rows: Sequence[int]) -> "TargetRows":
        """Some of the rows, in the order of their indices."""
        rows = [int(row) for row in rows]
        return replace(self, dataset=self.dataset.select(rows), labels=self.labels[rows], origin=self.origin[rows])

    @property
    def labelled(self) -> Int[Tensor, "labelled"]:
        """Indices of the rows with a label."""
        return (self.labels != UNLABELLED).nonzero().flatten()

    def require_two_rows_a_class(self) -> None:
        """Refuse a class with one labelled row, which cannot be in a training and in a validation fold.

        Raises:
            DatasetError: if there is such a class; the message gives its name.
        """
        counts = torch.bincount(self.labels[self.labelled], minlength=len(self.label_space))
        single = (counts == 1).nonzero().flatten().tolist()
        if single:
            raise DatasetError(
                f"Class {self.label_space.names[single[0]]!r} has a single labelled row, but estimates are cross-fitted"
                " over at least two. Add rows of it, or pass `skip_bad_rows=True` to leave such classes out."
            )

    def inputs(self, rows: Sequence[int]) -> list[PILImage.Image] | list[str] | list[tuple[str, str]]:
        """Raw images (in the mode of the data set's feature, or as stored), texts, or pairs of texts of some rows.

        Raises:
            DatasetError: if an image cannot be decoded or has more than 8 bits a channel; its row is given.
        """
        if self.modality == "text":
            return self._texts_of(self._input[[int(row) for row in rows]])
        return [self._image(int(row)) for row in rows]

    @cached_property
    def _input(self) -> Dataset:
        """The columns of inputs alone, so that reading a row decodes nothing else."""
        return self.dataset.select_columns(list(self.input_columns))

    def _texts_of(self, columns: Mapping[str, Sequence]) -> list:
        """A text for every row, or a pair of texts."""
        texts = [columns[name] for name in self.input_columns]
        return list(texts[0]) if len(texts) == 1 else list(zip(*texts, strict=True))

    @cached_property
    def _images(self) -> ImageColumn:
        return ImageColumn(self.dataset, self.input_columns[0])

    def _image(self, row: int) -> PILImage.Image:
        return self._images.read(row, f"Row {int(self.origin[row])} of `{self.input_columns[0]}`")

    def file(self, row: int) -> str | None:
        """The file of a row's image, where the data set names it; None for texts.

        Args:
            row: its index among these rows.
        """
        return self._images.file(row) if self.modality == "image" else None

    def _bad_images(self) -> list[int]:
        bad = []
        with row_bar(len(self), "checking images") as bar:
            for row in range(len(self)):
                try:
                    self._image(row)
                except DatasetError:
                    bad.append(row)
                bar.update()
        return bad

    def raw_label(self, row: int) -> object:
        """What the label column holds for one row, an image decoded; None without the column.

        Raises:
            DatasetError: if an image cannot be decoded; the row is named.
        """
        if self.label_column not in self.dataset.features:
            return None
        if self._plain_labels is not None:
            return self._plain_labels[row]
        try:
            label = self._label[row][self.label_column]
            if isinstance(label, PILImage.Image):
                label.load()
        except UNDECODABLE as error:
            raise DatasetError(
                f"Row {int(self.origin[row])} of `{self.label_column}` holds no image that can be decoded. Repair it."
            ) from error
        return None if _is_missing(label) else label

    @cached_property
    def _plain_labels(self) -> list | None:
        """All labels where they are numbers or lists of numbers, read at once; None where they are larger."""
        feature = self.dataset.features[self.label_column]
        inner = feature.feature if isinstance(feature, List | LargeList) else feature
        return self._label[:][self.label_column] if isinstance(inner, Value | ClassLabel) else None

    @cached_property
    def _label(self) -> Dataset:
        return self.dataset.select_columns(self.label_column)

    @cached_property
    def label_digests(self) -> list[str | None]:
        """One digest a row, of its raw label alone; None where there is none."""
        if self.label_column not in self.dataset.features:
            return [None] * len(self)
        if not isinstance(self.dataset.features[self.label_column], Image):
            raw = (row[self.label_column] for row in self._label)
            return [None if _is_missing(label) else xxhash.xxh3_128_hexdigest(str(label).encode()) for label in raw]
        return ImageColumn(self.dataset, self.label_column).digests()

    def _texts(self) -> Iterator[tuple[str | None, ...]]:
        """The texts of all rows, read in parts: the columns may not fit the memory."""
        with row_bar(len(self), "reading texts") as bar:
            for part in self._input.iter(batch_size=_TEXTS_A_PART):
                texts = list(zip(*(part[name] for name in self.input_columns), strict=True))
                yield from texts
                bar.update(len(texts))

    def _bad_texts(self) -> list[int]:
        """Rows with an empty text, or with one in a pair: half a pair is none."""
        return [
            row for row, texts in enumerate(self._texts()) if any(text is None or not text.strip() for text in texts)
        ]

    @cached_property
    def text_lengths(self) -> list[int]:
        """Number of characters of each row; 0 for images."""
        if self.modality != "text":
            return [0] * len(self)
        return [sum(len(text or "") for text in texts) for texts in self._texts()]

    @cached_property
    def digests(self) -> list[str]:
        """One digest a row, of its raw input alone: it identifies the row in caches, in any order or subset."""
        if self.modality == "text":
            return [_digest(texts) for texts in self._texts()]
        no_image = xxhash.xxh3_128_hexdigest(b"no image")
        return [no_image if digest is None else digest for digest in self._images.digests()]

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the inputs and labels of all rows in order."""
        hasher = xxhash.xxh3_128()
        for digest, label in zip(self.digests, self.labels.tolist(), strict=True):
            hasher.update(f"{digest}:{label};".encode())
        return hasher.hexdigest()


def _digest(texts: Sequence[str | None]) -> str:
    """Of one text itself, of a pair from both digests: the same words cut elsewhere are another pair."""
    digests = [xxhash.xxh3_128_hexdigest((text or "").encode()) for text in texts]
    return digests[0] if len(digests) == 1 else xxhash.xxh3_128_hexdigest(" and ".join(digests).encode())


def _modality(features: Features, columns: Sequence[str]) -> Modality:
    return "image" if isinstance(features[columns[0]], Image) else "text"


def _is_missing(label: object) -> bool:
    """Whether there is no label: None, or the NaNs that some versions of `datasets` give for a missing array."""
    if label is None:
        return True
    if not isinstance(label, list | np.ndarray):
        return False
    try:
        values = np.asarray(label)
    except ValueError:  # rows of unequal length: the task names them
        return False
    return values.ndim == 2 and values.dtype.kind == "f" and bool(np.isnan(values).all())


def require_rows(dataset: object) -> None:
    """Refuse what is no single split with raw rows, such as all splits together or a stream.

    Args:
        dataset: what a user passed as a data set.

    Raises:
        DatasetError: if it is no `datasets.Dataset`, has a transform, or has no rows.
    """
    if not isinstance(dataset, Dataset):
        raise DatasetError(
            f"`dataset` must be one split as a datasets.Dataset, got {type(dataset).__name__}. "
            "Pass a split, such as dataset['train'], and take rows from a stream first."
        )
    if dataset.format["type"] == "custom":
        raise DatasetError(
            "`dataset` has a transform, but every model makes its own view of the raw rows. Take it off with "
            "`reset_format()`, and pass what changes training rows to the trainer as `augmentation=`."
        )
    if len(dataset) == 0:
        raise DatasetError("`dataset` must have rows, got none.")
