"""Which columns of a data set hold inputs and labels, and what class ids there are."""

import torch
from datasets import ClassLabel, Dataset, Features, Image, Value
from torch import Tensor

from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.types import UNLABELLED, LabelSpace

_TEXT_NAMES = ("text", "sentence", "content", "review", "document", "utterance", "question")
_LABEL_NAMES = ("label", "labels", "fine_label", "target", "class", "category", "intent")
_NO_LABEL = {-1, UNLABELLED}


def find_input(features: Features, named: str | None) -> str:
    """The column of images or texts: the one named, or the only one that it can be.

    Raises:
        DatasetError: if there is none, or a choice.
    """
    if named is not None:
        require_column(features, "input_column", named)
        if not (isinstance(features[named], Image) or is_text(features[named])):
            raise DatasetError(f"`input_column` {named!r} must hold images or texts, got {features[named]}.")
        return named
    images = [name for name, feature in features.items() if isinstance(feature, Image)]
    texts = [name for name, feature in features.items() if is_text(feature)]
    usual = [name for name in _TEXT_NAMES if name in texts]
    found = images if images else (usual[:1] or texts)
    if len(found) != 1:
        raise DatasetError(
            f"Found {len(found)} columns that may hold the input among {sorted(features)}. Name it with `input_column`."
        )
    return found[0]


def find_label(features: Features, named: str | None) -> str:
    """The column of class ids: the one named, or found by its type or usual name.

    Raises:
        DatasetError: if there is none.
    """
    if named is not None:
        require_column(features, "label_column", named)
        return named
    classes = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    usual = [name for name in _LABEL_NAMES if name in (classes or features)]
    found = classes if len(classes) == 1 else usual[:1]
    if not found:
        raise DatasetError(
            f"Found no label column among {sorted(features)}. "
            "Name it with `label_column`; it must hold integer class ids."
        )
    return found[0]


def require_column(features: Features, argument: str, name: str) -> None:
    """Refuse a name that is no column.

    Raises:
        DatasetError: naming it.
    """
    if name not in features:
        raise DatasetError(f"`{argument}` {name!r} is not a column; the data set has {sorted(features)}.")


def is_text(feature: object) -> bool:
    """Whether a column holds texts."""
    return isinstance(feature, Value) and feature.dtype in {"string", "large_string"}


def class_ids(dataset: Dataset, column: str, *, known: LabelSpace | None = None) -> tuple[LabelSpace, Tensor]:
    """The classes and the class id of every row, -100 where there is none.

    Args:
        dataset: the rows.
        column: the one that holds them.
        known: the classes, for rows of which none needs a label; None asks for one label at least.

    Raises:
        DatasetError: if they are no class ids.
    """
    feature = dataset.features[column]
    if known is not None and feature == Value("null"):
        return known, torch.full((len(dataset),), UNLABELLED)
    if not isinstance(feature, ClassLabel) and not (isinstance(feature, Value) and "int" in feature.dtype):
        raise DatasetError(
            f"`label_column` {column!r} must hold integer class ids, got {feature}. "
            f"Call `dataset.class_encode_column({column!r})` first."
        )
    values = dataset.select_columns(column)[:][column]
    ids = [UNLABELLED if value is None or value in _NO_LABEL else value for value in values]
    labels = torch.tensor(ids, dtype=torch.long)
    given = labels[labels != UNLABELLED]
    if given.numel() == 0 and known is None:
        raise DatasetError(f"`label_column` {column!r} must have labelled rows, but every label is missing.")
    if given.numel() == 0 and known is not None and not isinstance(feature, ClassLabel):
        return known, labels
    classes = feature.num_classes if isinstance(feature, ClassLabel) else int(given.max()) + 1
    if not isinstance(feature, ClassLabel) and classes > max(1000, len(labels)):
        raise DatasetError(
            f"`label_column` {column!r} must hold class ids from 0 on, got {classes - 1} among {len(labels)} rows. "
            f"Name another column, or call `dataset.class_encode_column({column!r})` first."
        )
    wrong = ((labels < 0) & (labels != UNLABELLED)) | (labels >= classes)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise DatasetError(f"Row {row} of `{column}` must be in [0, {classes}) or -100, got {ids[row]}.")
    names = feature.names if isinstance(feature, ClassLabel) else [str(label) for label in range(classes)]
    try:
        return LabelSpace(tuple(names)), labels
    except InvalidArgumentError as error:
        raise DatasetError(f"`{column}`: {error}") from error
