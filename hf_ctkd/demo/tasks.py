"""The built-in target tasks: a few labelled rows, many unlabelled rows, and rows for validation and test.

Rows are split once, independently of the seed: rows of the teachers, and the student's training, validation and test
rows. The seed only chooses which training rows keep their label.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from datasets import ClassLabel, Dataset, DatasetInfo, Features, concatenate_datasets

from hf_ctkd.demo.images import CHARSETS, STUDENT_FONTS, digits_dataset, glyphs_dataset
from hf_ctkd.demo.text import docstrings_dataset, text_key
from hf_ctkd.errors import InvalidArgumentError, resolve_name
from hf_ctkd.types import UNLABELLED, LabelSpace

Modality = Literal["image", "text"]

FAMILIES = {
    "closed loop": ("zero", "six", "eight", "nine"),
    "straight strokes": ("one", "four", "seven"),
    "open curves": ("two", "three", "five"),
}
"""Digits grouped by the shape of their strokes: other labels for the same images."""

RARE_DIGITS = ("one", "four", "six", "seven", "nine")
"""Classes of which `digits-imbalanced` keeps every fifth row, in every split."""

_DIGIT_POOLS = (700, 600, 150, 347)
_GLYPHS_PER_CLASS = 60
_TEXT_POOLS = (0.40, 0.76, 0.84)


@dataclass(frozen=True)
class Pools:
    """The splits of a task before a seed chooses the labelled rows; no row is in two of them.

    Args:
        train: training rows, of which some keep their label.
        validation: rows for tuning and early stopping.
        test: rows for the final evaluation only.
    """

    train: Dataset
    validation: Dataset
    test: Dataset


@dataclass(frozen=True)
class DemoTask:
    """A target task in the form of a user's data set: raw rows, few of them labelled.

    Args:
        name: the name given to `build_task`.
        modality: "image" or "text".
        labelled: training rows with their label.
        unlabelled: training rows with the label -100.
        validation: labelled rows for tuning and early stopping.
        test: labelled rows for the final evaluation only.
        label_names: one name per class.
        hidden_labels: true labels of `unlabelled`, for diagnostics only; no method may use them.

    Example:
        >>> task = build_task("digits", labels=50, seed=0)
        >>> len(task.labelled), len(task.unlabelled), len(task.train())
        (50, 550, 600)
    """

    name: str
    modality: Modality
    labelled: Dataset
    unlabelled: Dataset
    validation: Dataset
    test: Dataset
    label_names: tuple[str, ...]
    hidden_labels: tuple[int, ...]

    def train(self) -> Dataset:
        """All training rows, the labelled ones first."""
        return concatenate_datasets([self.labelled, self.unlabelled])

    @property
    def label_space(self) -> LabelSpace:
        """The task's classes."""
        return LabelSpace(self.label_names)


def build_task(name: str, *, labels: int, seed: int) -> DemoTask:
    """A target task by name: one of `TASKS`, or a function of your own as `package.module:function`.

    Args:
        name: a built-in name, or the import path of a function that takes `labels=` and `seed=` and returns a
            `DemoTask`.
        labels: number of labelled rows, at least two per class; drawn in the proportions of the classes.
        seed: of the draw of these rows.

    Raises:
        InvalidArgumentError: if the name is unknown or `labels` does not fit the task.
    """
    if name in TASKS:
        modality, pools = TASKS[name]
        return assemble_task(name, modality, pools(), labels=labels, seed=seed)
    if ":" not in name:
        raise InvalidArgumentError(
            f"`name` must be one of {', '.join(TASKS)}, got {name!r}. Choose one of these, or name a function of your "
            "own as `package.module:function`."
        )
    task = resolve_name(name, "name")(labels=labels, seed=seed)
    if not isinstance(task, DemoTask):
        raise InvalidArgumentError(
            f"`name` {name!r} must be a function that returns a `DemoTask`, got {type(task).__name__}. "
            "Make one with `assemble_task`."
        )
    return task


def assemble_task(name: str, modality: Modality, pools: Pools, *, labels: int, seed: int) -> DemoTask:
    """Build a task from its splits by drawing the labelled rows.

    Use it to add a task of your own.

    Args:
        name: name of the task.
        modality: "image" or "text".
        pools: rows with a `label` column of type `ClassLabel`.
        labels: number of labelled rows, at least two per class and fewer than the training rows.
        seed: of the draw of these rows.

    Raises:
        InvalidArgumentError: if `labels` is out of its range.
    """
    feature = pools.train.features["label"]
    truth = np.asarray(pools.train["label"][:])
    labelled = stratified_rows(truth, labels, seed=seed)
    unlabelled = np.setdiff1d(np.arange(len(truth)), labelled)
    return DemoTask(
        name=name,
        modality=modality,
        labelled=pools.train.select(labelled),
        unlabelled=relabel(pools.train.select(unlabelled), [UNLABELLED] * len(unlabelled), feature),
        validation=pools.validation,
        test=pools.test,
        label_names=tuple(feature.names),
        hidden_labels=tuple(truth[unlabelled].tolist()),
    )


def stratified_rows(labels: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """Indices of random rows in the proportions of the classes, at least two per class, in random order.

    Args:
        labels: class of each row, `[rows]`.
        count: number of rows to draw, at least two per class and fewer than `rows`.
        seed: of the draw.

    Raises:
        InvalidArgumentError: if `count` is out of its range.
    """
    sizes = np.bincount(labels)
    least, most = 2 * len(sizes), len(labels) - 1
    if not least <= count <= most:
        raise InvalidArgumentError(
            f"`labels` must lie between {least} (two of each of {len(sizes)} classes) and {most}, got {count}."
        )
    quota = sizes * (count / len(labels))
    drawn = np.minimum(np.maximum(np.floor(quota).astype(int), 2), sizes)
    while drawn.sum() != count:
        step = 1 if drawn.sum() < count else -1
        can_change = drawn < sizes if step > 0 else drawn > 2
        drawn[np.argmax(np.where(can_change, step * (quota - drawn), -np.inf))] += step
    generator = np.random.default_rng(seed)
    rows = [generator.choice(np.flatnonzero(labels == label), n, replace=False) for label, n in enumerate(drawn)]
    return generator.permutation(np.concatenate(rows))


def digit_pools() -> tuple[Dataset, Pools]:
    """Handwritten digits of the teachers (700 rows), and the student's splits (600, 150 and 347 rows)."""
    dataset = digits_dataset()
    order = np.random.default_rng(1797).permutation(len(dataset))
    teachers, *student = (dataset.select(rows) for rows in np.split(order, np.cumsum(_DIGIT_POOLS)[:-1]))
    return teachers, Pools(*student)


def docstring_pools(library: str, *, min_rows: int = 40, label: str = "package") -> tuple[Dataset, Pools]:
    """A library's docstrings for teachers, and the student's splits.

    The hash of a text assigns it, so a text that occurs in two libraries is never on both sides.

    Args:
        library: an installed top-level package.
        min_rows: classes with fewer docstrings are dropped.
        label: "package" or "kind", see `docstrings_dataset`.
    """
    dataset = docstrings_dataset(library, min_rows=min_rows, label=label)
    shares = np.array([int(text_key(text)[:8], 16) / 2**32 for text in dataset["text"][:]])
    pool = np.searchsorted(_TEXT_POOLS, shares, side="right")
    teachers, *student = (dataset.select(np.flatnonzero(pool == index)) for index in range(4))
    return teachers, Pools(*student)


def regroup(dataset: Dataset, groups: dict[str, tuple[str, ...]]) -> Dataset:
    """Rows with new labels; rows whose class is in no group are dropped.

    Args:
        dataset: rows with a `label` column.
        groups: from each new class to the old classes that it contains.
    """
    old = dataset.features["label"].names
    names = list(groups)
    new_label = {old.index(member): label for label, name in enumerate(names) for member in groups[name]}
    labels = np.asarray(dataset["label"][:])
    rows = np.flatnonzero(np.isin(labels, list(new_label)))
    new_labels = [new_label[label] for label in labels[rows].tolist()]
    return relabel(dataset.select(rows), new_labels, ClassLabel(names=names))


def relabel(dataset: Dataset, labels: Sequence[int], feature: ClassLabel) -> Dataset:
    """The same rows with other labels.

    Args:
        dataset: rows with a `label` column.
        labels: new labels, -100 for unlabelled rows.
        feature: the new classes.
    """
    table = dataset.remove_columns("label").with_format("arrow")[:].append_column("label", pa.array(labels, pa.int64()))
    features = Features(
        {name: column for name, column in dataset.features.items() if name != "label"} | {"label": feature}
    )
    return Dataset(table, info=DatasetInfo(features=features))


def _digits() -> Pools:
    return digit_pools()[1]


def _digit_families() -> Pools:
    pools = digit_pools()[1]
    return Pools(regroup(pools.train, FAMILIES), regroup(pools.validation, FAMILIES), regroup(pools.test, FAMILIES))


def _thinned(dataset: Dataset) -> Dataset:
    labels = np.asarray(dataset["label"][:])
    names = dataset.features["label"].names
    keep = np.ones(len(labels), dtype=bool)
    for rare in RARE_DIGITS:
        rows = np.flatnonzero(labels == names.index(rare))
        keep[rows[np.arange(len(rows)) % 5 != 0]] = False
    return dataset.select(np.flatnonzero(keep))


def _digits_imbalanced() -> Pools:
    pools = digit_pools()[1]
    return Pools(_thinned(pools.train), _thinned(pools.validation), _thinned(pools.test))


def glyph_pools(characters: str) -> Pools:
    """The student's splits of rendered characters: half of the pictures, a tenth for validation, the rest for testing.

    Args:
        characters: each is a class, such as an entry of `CHARSETS`.
    """
    dataset = glyphs_dataset(characters, fonts=STUDENT_FONTS, per_class=_GLYPHS_PER_CLASS, seed=60)
    order = np.random.default_rng(60).permutation(len(dataset))
    half, sixty = len(order) // 2, len(order) * 6 // 10
    return Pools(dataset.select(order[:half]), dataset.select(order[half:sixty]), dataset.select(order[sixty:]))


TASKS: dict[str, tuple[Modality, Callable[[], Pools]]] = {
    "digits": ("image", _digits),
    "digit-families": ("image", _digit_families),
    "digits-imbalanced": ("image", _digits_imbalanced),
    "greek-letters": ("image", lambda: glyph_pools(CHARSETS["greek"])),
    "capital-letters": ("image", lambda: glyph_pools(CHARSETS["latin-capitals"])),
    "scipy-docstrings": ("text", lambda: docstring_pools("scipy", min_rows=130)[1]),
    "sklearn-docstrings": ("text", lambda: docstring_pools("sklearn", min_rows=85)[1]),
    "pandas-docstrings": ("text", lambda: docstring_pools("pandas", min_rows=120)[1]),
}
"""Built-in tasks: from the name to the modality and a function that returns the splits."""
