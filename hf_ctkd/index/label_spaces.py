"""The label spaces of an index as arrays: which names each one has, which have each name, whose it is."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int
from numpy import ndarray

from hf_ctkd.index.names import is_informative, plain_name


@dataclass(frozen=True, eq=False)
class Lists:
    """Lists of numbers of different lengths, one after another.

    Args:
        offsets: where each begins in `values`, and the end.
        values: of all lists.
    """

    offsets: Int[ndarray, "lists_1"]
    values: Int[ndarray, "entries"]

    def __len__(self) -> int:
        """Number of lists."""
        return len(self.offsets) - 1

    def __getitem__(self, index: int | np.integer) -> Int[ndarray, "length"]:
        """One list."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def gather(self, indices: Int[ndarray, "chosen"]) -> tuple[ndarray, ndarray]:
        """The entries of some lists, and the position in `indices` that each came from.

        Args:
            indices: of the lists.
        """
        starts, lengths = self.offsets[indices], np.diff(self.offsets)[indices]
        owners = np.repeat(np.arange(len(indices)), lengths)
        within = np.arange(len(owners)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return self.values[np.repeat(starts, lengths) + within], owners

    @classmethod
    def grouped(cls, keys: Int[ndarray, "entries"], values: Int[ndarray, "entries"], count: int) -> "Lists":
        """Lists by key, each in the order of the entries.

        Args:
            keys: list of each entry.
            values: entries.
            count: how many lists.
        """
        order = np.argsort(keys, kind="stable")
        offsets = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=count))])
        return cls(offsets, values[order].astype(np.int32))


@dataclass(frozen=True, eq=False)
class LabelSpaces:
    """Every different label space of an index; teachers with the same names share one.

    Args:
        names: every different name, plain.
        sizes: number of classes of each space, those with names that say nothing included.
        members: names of each space.
        holders: spaces that have each name, those with the fewest classes first.
        teachers: rows of the index with each space, most downloaded first.
    """

    names: list[str]
    sizes: Int[ndarray, "spaces"]
    members: Lists
    holders: Lists
    teachers: Lists

    @classmethod
    def of(cls, label_names: pa.ListArray | pa.ChunkedArray, downloads: Int[ndarray, "rows"]) -> "LabelSpaces":
        """From the columns of an index; rows without a name that says something are in no space.

        Args:
            label_names: a list, or null, for each row.
            downloads: of each row.
        """
        column = label_names.combine_chunks() if isinstance(label_names, pa.ChunkedArray) else label_names
        names, codes, rows = _coded(column)
        silent = np.bincount(rows[codes < 0], minlength=len(column))
        named = codes >= 0
        keys = np.sort(rows[named].astype(np.int64) * len(names) + codes[named])
        # A name twice in a row counts once. `np.unique` hashes the keys first: 1.7 s for 1.5 million, and this 0.01 s.
        keys = keys[_firsts(keys)]
        rows, codes = keys // max(len(names), 1), keys % max(len(names), 1)
        size_of_row = np.bincount(rows, minlength=len(column)) + silent
        rows_with_names, first, space_of = _distinct(rows, codes, size_of_row)
        members = Lists.grouped(rows, codes, len(column))
        values, owners = members.gather(rows_with_names[first])
        members = Lists(np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=len(first)))]), values)
        sizes = size_of_row[rows_with_names[first]]
        by_size = np.argsort(sizes[owners], kind="stable")
        by_downloads = np.argsort(-downloads[rows_with_names], kind="stable")
        return cls(
            names,
            sizes.astype(np.int32),
            members,
            Lists.grouped(values[by_size], owners[by_size], len(names)),
            Lists.grouped(space_of[by_downloads], rows_with_names[by_downloads], len(first)),
        )


def _coded(column: pa.ListArray) -> tuple[list[str], ndarray, ndarray]:
    """The plain names; the number of the name of each class, -1 for one that says nothing; the row of each class."""
    dictionary = pc.list_flatten(column).dictionary_encode()
    numbers: dict[str, int] = {}
    raw = [name or "" for name in dictionary.dictionary.to_pylist()]
    number_of = [numbers.setdefault(plain_name(name), len(numbers)) if is_informative(name) else -1 for name in raw]
    # `list_flatten` leaves out null lists, whose parent is no row of its result.
    entries = dictionary.indices.fill_null(0).to_numpy(zero_copy_only=False)
    codes = np.array([*number_of, -1])[entries] if len(entries) else np.zeros(0, dtype=np.int64)
    rows = pc.list_parent_indices(column).to_numpy(zero_copy_only=False)
    return list(numbers), codes, rows


def _firsts(values: ndarray) -> ndarray:
    """Positions of the first of each run of equal numbers, in ascending ones."""
    return np.flatnonzero(np.diff(values, prepend=-1))


def _distinct(rows: ndarray, codes: ndarray, sizes: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    """Rows with names; positions among these of one row of each different space; the space of each."""
    # The sum of a random number of 64 bits for each name tells sets apart, in whatever order their names stand: a
    # collision among a million spaces has a chance of 3e-8.
    generator = np.random.default_rng(0)
    marks = generator.integers(0, 2**64, size=int(codes.max(initial=0)) + 1, dtype=np.uint64)
    starts = _firsts(rows)
    rows_with_names = rows[starts]
    sums = np.add.reduceat(marks[codes], starts) if len(starts) else np.zeros(0, dtype=np.uint64)
    sums += sizes[rows_with_names].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    _, first, space_of = np.unique(sums, return_index=True, return_inverse=True)
    return rows_with_names, first, space_of
