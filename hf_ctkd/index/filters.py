"""Which teachers of an index may be returned."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool
from numpy import ndarray

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.hub.limits import check_max_parameters


@dataclass(frozen=True, kw_only=True)
class TeacherFilter:
    """Conditions on metadata; a teacher of which one is not known does not meet it.

    Args:
        task: the Hub's task tag, such as `"image-classification"`.
        max_parameters: largest number of parameters, such as `300e6`.
        license: licence identifier, such as `"apache-2.0"`.
        language: language tag, such as `"en"`.
        min_downloads: fewest downloads of the last 30 days.
        gated: whether teachers may be returned whose author must grant access first.

    Raises:
        InvalidArgumentError: if a number is out of range.
    """

    task: str | None = None
    max_parameters: float | int | None = None
    license: str | None = None
    language: str | None = None
    min_downloads: int | None = None
    gated: bool = False

    def __post_init__(self) -> None:
        check_max_parameters(self.max_parameters)
        if self.min_downloads is not None and self.min_downloads < 0:
            raise InvalidArgumentError(f"`min_downloads` must be 0 or more, got {self.min_downloads}. Try 100.")

    def mask(self, columns: "FilterColumns") -> Bool[ndarray, "rows"] | None:
        """Which rows meet every condition; None where there is none, so that every row does.

        Args:
            columns: of the index.
        """
        masks = []
        if not self.gated and columns.any_unavailable:
            masks.append(columns.available)
        for column, value in ((columns.task, self.task), (columns.license, self.license)):
            if value is not None:
                masks.append(column.equals(value))
        if self.max_parameters is not None:
            masks.append(columns.parameters <= self.max_parameters)
        if self.min_downloads is not None:
            masks.append(columns.downloads >= self.min_downloads)
        if self.language is not None:
            masks.append(columns.speaks(self.language))
        return np.logical_and.reduce(masks) if masks else None


@dataclass(frozen=True, eq=False)
class Words:
    """A column of words as numbers.

    Args:
        words: the different ones.
        codes: number of that of each row, -1 for none.
    """

    words: list[str]
    codes: ndarray

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> "Words":
        """From a column of texts."""
        encoded = column.combine_chunks().dictionary_encode()
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return cls(encoded.dictionary.to_pylist(), codes.astype(np.int32))

    def equals(self, word: str) -> Bool[ndarray, "rows"]:
        """Which rows hold a word."""
        return self.codes == (self.words.index(word) if word in self.words else -2)


@dataclass(frozen=True, eq=False)
class FilterColumns:
    """The columns that filters read, as arrays.

    Args:
        task: of each row.
        license: of each row.
        parameters: infinite where not known.
        downloads: 0 where not known.
        languages: all language tags of all rows.
        language_rows: the row of each of these.
        available: whether a teacher is neither gated nor has a problem.
        any_unavailable: whether there is one that is or has.
    """

    task: Words
    license: Words
    parameters: ndarray
    downloads: ndarray
    languages: Words
    language_rows: ndarray
    available: ndarray
    any_unavailable: bool

    @classmethod
    def of(cls, table: pa.Table) -> "FilterColumns":
        """From the rows of an index."""
        languages = table["languages"].combine_chunks()
        available = pc.invert(pc.or_(pc.fill_null(table["gated"], False), pc.is_valid(table["problem"])))
        mask = available.to_numpy()
        return cls(
            task=Words.of(table["task"]),
            license=Words.of(table["license"]),
            parameters=pc.fill_null(table["parameters"].cast(pa.float64()), np.inf).to_numpy(),
            downloads=pc.fill_null(table["downloads"], 0).to_numpy(),
            languages=Words.of(pa.chunked_array([pc.list_flatten(languages)])),
            language_rows=pc.list_parent_indices(languages).to_numpy(zero_copy_only=False),
            available=mask,
            any_unavailable=not bool(mask.all()),
        )

    def speaks(self, language: str) -> Bool[ndarray, "rows"]:
        """Which rows have a language tag."""
        mask = np.zeros(len(self.available), dtype=bool)
        mask[self.language_rows[self.languages.equals(language)]] = True
        return mask
