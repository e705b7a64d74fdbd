"""From a column of class ids, whole numbers, names or truth values to classes and the class id of every row."""

from collections.abc import Hashable, Mapping, Sequence

import torch
from datasets import ClassLabel, Dataset, Value
from torch import Tensor

from hf_ctkd.data.notices import warn_once
from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.types import UNLABELLED, LabelSpace

_NO_LABEL = {-1, UNLABELLED}
_SHOWN_CLASSES = 10
_CERTAIN_CLASSES = 50
"""More values than these, and more than one for every second row, are no classes but numbers or texts."""


def class_ids(
    dataset: Dataset, column: str, *, label_space: LabelSpace | None = None, required: bool = True
) -> tuple[LabelSpace, Tensor]:
    """The classes and the class id of every row, -100 where a row has no label.

    Classes are those that `ClassLabel` declares, or else the different values of the column in ascending order: a
    column of 10, 20 and 30 has three classes. None, -1 and -100 mean no label, and so do empty names.

    Args:
        dataset: the rows.
        column: of the labels.
        label_space: the classes, where they are known from other rows: values are then looked up among their names.
        required: whether at least one row must have a label.

    Raises:
        DatasetError: if the column does not hold classes, or a value is not among those of `label_space`.
    """
    # Not `class_encode_column`: it makes classes "-1" and "-100" of missing labels, and numbers the classes of each
    # split anew. Not `align_labels_with_mapping`: it needs names, which columns of plain integers lack.
    feature = dataset.features[column]
    if isinstance(feature, ClassLabel):
        classes, labels = _declared(dataset, column, feature)
    else:
        values = _values(dataset, column)
        classes = _classes(values, column) if label_space is None else label_space
        labels = _looked_up(values, classes, column)
    if required and not bool((labels != UNLABELLED).any()):
        raise DatasetError(f"`label_column` {column!r} must have labelled rows, but every label is missing.")
    return classes, labels


def _declared(dataset: Dataset, column: str, feature: ClassLabel) -> tuple[LabelSpace, Tensor]:
    """Class ids of a column that names its classes: `datasets` does not check those that it reads from files."""
    ids = [UNLABELLED if value is None or value in _NO_LABEL else value for value in _raw(dataset, column)]
    labels = torch.tensor(ids, dtype=torch.long)
    out_of_range = ((labels < 0) & (labels != UNLABELLED)) | (labels >= feature.num_classes)
    if out_of_range.any():
        row = int(out_of_range.nonzero()[0])
        raise DatasetError(f"Row {row} of `{column}` must be in [0, {feature.num_classes}) or -100, got {ids[row]}.")
    try:
        return LabelSpace(tuple(feature.names)), labels
    except InvalidArgumentError as error:
        raise DatasetError(f"`{column}`: {error}") from error


def _raw(dataset: Dataset, column: str) -> list:
    return dataset.select_columns(column)[:][column]


def _values(dataset: Dataset, column: str) -> list[int | str | None]:
    """A whole number or a name for every row, None for a row without a label.

    Raises:
        DatasetError: if the column holds anything else.
    """
    feature = dataset.features[column]
    dtype = feature.dtype if isinstance(feature, Value) else ""
    if dtype == "null":
        return [None] * len(dataset)
    if "int" in dtype:
        return _whole_numbers(_raw(dataset, column), column)
    if "float" in dtype:  # whole numbers with gaps become these in a CSV file
        return _whole_numbers(_without_fractions(_raw(dataset, column), column), column)
    if dtype == "bool":
        return [None if value is None else str(value) for value in _raw(dataset, column)]
    if "string" in dtype:
        return [value if value and value.strip() else None for value in _raw(dataset, column)]
    raise DatasetError(
        f"`label_column` {column!r} must hold classes, as whole numbers or as names, got {feature}. "
        "Name another column, or convert this one with `dataset.map`."
    )


def _without_fractions(values: Sequence[float | None], column: str) -> list[int | None]:
    whole: list[int | None] = []
    for row, value in enumerate(values):
        if value is None or value != value:  # NaN
            whole.append(None)
        elif value.is_integer():
            whole.append(int(value))
        else:
            raise DatasetError(
                f"`label_column` {column!r} must hold classes, as whole numbers or as names, got {value} in row {row}. "
                "Numbers to be estimated need a student with a single output, `num_labels=1`, and no ranking."
            )
    return whole


def _whole_numbers(values: Sequence[int | None], column: str) -> list[int | str | None]:
    negative = (row for row, value in enumerate(values) if value is not None and value < 0 and value not in _NO_LABEL)
    row = next(negative, None)
    if row is not None:
        raise DatasetError(
            f"Row {row} of `{column}` must be a class of 0 or more, or -1 or -100 for no label, got {values[row]}. "
            "Map negative classes to names first."
        )
    if -1 in values:
        warn_once(f"{values.count(-1)} of {len(values)} rows hold -1 in `{column}`, which means no label.")
    return [None if value in _NO_LABEL else value for value in values]


def _classes(values: Sequence[int | str | None], column: str) -> LabelSpace:
    """The different values in ascending order; a line of the log shows their ids where these are not the values."""
    given = [value for value in values if value is not None]
    distinct = sorted(set(given), key=lambda value: (str(type(value)), value))
    if len(distinct) > max(_CERTAIN_CLASSES, len(given) / 2):
        raise DatasetError(
            f"`label_column` {column!r} must hold classes, got {len(distinct)} different values among {len(given)} "
            "labelled rows. Name another column."
        )
    if not distinct:
        raise DatasetError(f"`label_column` {column!r} must have labelled rows, but every label is missing.")
    if distinct != list(range(len(distinct))):
        mapping = ", ".join(f"{value!r} is {number}" for number, value in enumerate(distinct[:_SHOWN_CLASSES]))
        more = f", and {len(distinct) - _SHOWN_CLASSES} more" if len(distinct) > _SHOWN_CLASSES else ""
        warn_once(f"The values of `{column}` become {len(distinct)} classes: {mapping}{more}.")
    return LabelSpace(tuple(map(str, distinct)))


def _looked_up(values: Sequence[int | str | None], classes: LabelSpace, column: str) -> Tensor:
    ids = _ids_of_values(classes)
    labels = [UNLABELLED if value is None else ids.get(value, -1) for value in values]
    if -1 in labels:
        row = labels.index(-1)
        names = ", ".join(classes.names[:_SHOWN_CLASSES])
        raise DatasetError(
            f"Row {row} of `{column}` must be one of the {len(classes)} classes "
            f"({names}{', ...' if len(classes) > _SHOWN_CLASSES else ''}), got {values[row]!r}. Leave such rows out."
        )
    return torch.tensor(labels, dtype=torch.long)


def _ids_of_values(classes: LabelSpace) -> Mapping[Hashable, int]:
    """Class ids by name, and by number: that in the name where all names are numbers, or else the id itself."""
    by_name: dict[Hashable, int] = {name: number for number, name in enumerate(classes.names)}
    if all(name.isdecimal() and name == str(int(name)) for name in classes.names):
        return by_name | {int(name): number for name, number in by_name.items() if isinstance(name, str)}
    return by_name | {number: number for number in range(len(classes))}
