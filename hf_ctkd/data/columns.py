"""Finding the columns of inputs and labels of a data set, and reading class ids."""

import torch
from datasets import ClassLabel, Dataset, Features, Image, Value
from torch import Tensor

from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.types import UNLABELLED, LabelSpace

_TEXT_NAMES = ("text", "sentence", "content", "review", "document", "utterance", "question")
_LABEL_NAMES = ("label", "labels", "fine_label", "target", "class", "category", "intent")
_NO_LABEL = {-1, UNLABELLED}


def find_input(features: Features, named: str | None) -> str:
    """The column of images or texts: the named one, or the only candidate.

    Raises:
        DatasetError: if there is no candidate, or more than one.
    """
    if named is not None:
        require_column(features, "input_column", named)
        if not (isinstance(features[named], Image) or is_text(features[named])):
            raise DatasetError(f"`input_column` {named!r} must hold images or texts, got {features[named]}.")
        return named
    images = [name for name, feature in features.items() if isinstance(feature, Image)]
    texts = [name for name, feature in features.items() if is_text(feature)]
    usual = [name for name in _TEXT_NAMES if name in texts]
    candidates = images if images else (usual[:1] or texts)
    if len(candidates) != 1:
        raise DatasetError(
            f"Found {len(candidates)} columns that may hold the input among {sorted(features)}. "
            "Name it with `input_column`."
        )
    return candidates[0]


def find_label(features: Features, named: str | None) -> str:
    """The column of class ids: the named one, or the one with their type or a usual name.

    Raises:
        DatasetError: if there is none.
    """
    if named is not None:
        require_column(features, "label_column", named)
        return named
    classes = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    usual = [name for name in _LABEL_NAMES if name in (classes or features)]
    candidates = classes if len(classes) == 1 else usual[:1]
    if not candidates:
        raise DatasetError(
            f"Found no label column among {sorted(features)}. "
            "Name it with `label_column`; it must hold integer class ids."
        )
    return candidates[0]


def require_column(features: Features, argument: str, name: str) -> None:
    """Refuse a name that is not a column.

    Raises:
        DatasetError: if there is no such column; the message lists the columns.
    """
    if name not in features:
        raise DatasetError(f"`{argument}` {name!r} is not a column; the data set has {sorted(features)}.")


def is_text(feature: object) -> bool:
    """Whether a column holds texts."""
    return isinstance(feature, Value) and feature.dtype in {"string", "large_string"}


def class_ids(dataset: Dataset, column: str, *, label_space: LabelSpace | None = None) -> tuple[LabelSpace, Tensor]:
    """The classes and the class id of every row, -100 where a row has no label.

    Args:
        dataset: the rows.
        column: of the labels.
        label_space: the classes, for rows that need no labels; None requires at least one label.

    Raises:
        DatasetError: if the column does not hold class ids.
    """
    # Not `class_encode_column`: it makes classes "-1" and "-100" of missing labels, and numbers the classes of each
    # split anew. Not `align_labels_with_mapping`: it needs names, which columns of plain integers lack.
    feature = dataset.features[column]
    if label_space is not None and feature == Value("null"):
        return label_space, torch.full((len(dataset),), UNLABELLED)
    if not isinstance(feature, ClassLabel) and not (isinstance(feature, Value) and "int" in feature.dtype):
        raise DatasetError(
            f"`label_column` {column!r} must hold integer class ids, got {feature}. "
            f"Call `dataset.class_encode_column({column!r})` first."
        )
    values = dataset.select_columns(column)[:][column]
    ids = [UNLABELLED if value is None or value in _NO_LABEL else value for value in values]
    labels = torch.tensor(ids, dtype=torch.long)
    given = labels[labels != UNLABELLED]
    if given.numel() == 0 and label_space is None:
        raise DatasetError(f"`label_column` {column!r} must have labelled rows, but every label is missing.")
    if given.numel() == 0 and label_space is not None and not isinstance(feature, ClassLabel):
        return label_space, labels
    classes = feature.num_classes if isinstance(feature, ClassLabel) else int(given.max()) + 1
    if not isinstance(feature, ClassLabel) and classes > max(1000, len(labels)):
        raise DatasetError(
            f"`label_column` {column!r} must hold class ids from 0 on, got {classes - 1} among {len(labels)} rows. "
            f"Name another column, or call `dataset.class_encode_column({column!r})` first."
        )
    out_of_range = ((labels < 0) & (labels != UNLABELLED)) | (labels >= classes)
    if out_of_range.any():
        row = int(out_of_range.nonzero()[0])
        raise DatasetError(f"Row {row} of `{column}` must be in [0, {classes}) or -100, got {ids[row]}.")
    names = feature.names if isinstance(feature, ClassLabel) else [str(label) for label in range(classes)]
    try:
        return LabelSpace(tuple(names)), labels
    except InvalidArgumentError as error:
        raise DatasetError(f"`{column}`: {error}") from error
