"""The index of teachers: metadata of many models, searched by the names of their classes."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from datasets import ClassLabel, Dataset, IterableDataset

from hf_ctkd.data.columns import find_label
from hf_ctkd.data.labels import class_ids
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.index.build import Source, add_teachers
from hf_ctkd.index.encoders import NameEncoder, SpellingEncoder, unit_vectors, unrelated_similarity
from hf_ctkd.index.filters import FilterColumns, TeacherFilter
from hf_ctkd.index.label_spaces import LabelSpaces
from hf_ctkd.index.names import is_informative, plain_name
from hf_ctkd.index.neighbours import neighbours_among
from hf_ctkd.index.sharing import pull_folder, push_table
from hf_ctkd.index.shortlist import NameSearch, best_spaces
from hf_ctkd.index.specification import candidates_of
from hf_ctkd.index.store import PartFolder, read_part
from hf_ctkd.index.vector_cache import VectorCache
from hf_ctkd.records import TeacherCandidate


class TeacherIndex:
    """The metadata of many teachers in Parquet files, searched by the names of their classes.

    Use it to shortlist teachers among more than can be run: nothing is loaded but their names, and `TeacherSelector`
    then ranks the shortlist on your rows. Teachers without names that say something (`LABEL_0`) are in the index, but
    no search by names returns them. For a handful of models use `hub_teachers`.

    The index is a snapshot: `build` again brings it up to date, except for models that were deleted, which a ranking
    skips with the reason.

    The first search of an index in a folder keeps the vectors of its names there, and of 100,000 names or more the
    graph of near neighbours too, so that the next process which opens it makes neither again.

    Args:
        table: one row a teacher, with the columns of `hf_ctkd.index.specification.SCHEMA`.
        encoder: names to vectors; by spelling when None, so that only shared words and inflections count.
        cache_dir: folder whose `vectors` hold those of the names and their graph; None to keep them in memory alone.

    Reference:
        Shortlist by label spaces after Lu, Ye and Zhan, "Selective cross-task distillation", arXiv:2204.11526.

    Example:
        >>> index = TeacherIndex.build(HubSearch(task="image-classification"), "teachers")  # doctest: +SKIP
        >>> shortlist = index.search(flowers["train"], k=20, max_parameters=100e6)  # doctest: +SKIP
        >>> ranking = TeacherSelector().rank(shortlist, flowers["train"])  # doctest: +SKIP
    """

    def __init__(
        self, table: pa.Table, *, encoder: NameEncoder | None = None, cache_dir: Path | str | None = None
    ) -> None:
        self._table = table.combine_chunks()  # `take` copies a column of several chunks whole
        self._encoder = SpellingEncoder() if encoder is None else encoder
        self._cache = None if cache_dir is None else VectorCache(cache_dir)

    @classmethod
    def build(cls, source: Source, path: Path | str, *, encoder: NameEncoder | None = None) -> "TeacherIndex":
        """Make an index, or bring one up to date: teachers that it holds at the same revision are not fetched again.

        Parts are written every 1,000 teachers. After an interruption the same call goes on from these.

        Args:
            source: a search of the Hub, a folder of models, or teachers.
            path: folder of the index, made where there is none.
            encoder: as for the class.

        Raises:
            InvalidArgumentError: if the folder cannot be written or holds broken parts, or a folder of models is none.
            TeacherUnavailableError: if the Hub cannot be searched; what was listed by then stays.
        """
        store = PartFolder(path)
        add_teachers(source, store)
        return cls(store.read(), encoder=encoder, cache_dir=path)

    @classmethod
    def load(cls, path: Path | str, *, encoder: NameEncoder | None = None) -> "TeacherIndex":
        """Read an index.

        Args:
            path: its folder, or one Parquet file of it.
            encoder: as for the class.

        Raises:
            InvalidArgumentError: if there is none, or it cannot be read.
        """
        path = Path(path)
        if path.is_file():
            return cls(read_part(path), encoder=encoder)
        store = PartFolder(path)
        if not store.parts:
            raise InvalidArgumentError(
                f"{path} holds no index of teachers. Name another folder, or make one with `TeacherIndex.build` or "
                "`hf-ctkd index build`."
            )
        return cls(store.read(), encoder=encoder, cache_dir=path)

    @classmethod
    def from_hub(
        cls,
        repo_id: str,
        *,
        path: Path | str | None = None,
        revision: str | None = None,
        token: str | None = None,
        encoder: NameEncoder | None = None,
    ) -> "TeacherIndex":
        """Pull an index that `push_to_hub` pushed.

        Args:
            repo_id: the data set, `"org/name"`.
            path: folder to add its teachers to, to be brought up to date by `build`; in the cache only when None.
            revision: branch, tag or commit; main when None.
            token: access token; by default the one of `hf auth login` or `HF_TOKEN`.
            encoder: as for the class.

        Raises:
            TeacherUnavailableError: if it is missing or private, or the Hub cannot be reached.
            InvalidArgumentError: if the data set holds no index.
        """
        pulled = PartFolder(pull_folder(repo_id, revision=revision, token=token)).read()
        if path is None:
            return cls(pulled, encoder=encoder)
        store = PartFolder(path)
        store.append(pulled)
        return cls(store.compact({}), encoder=encoder, cache_dir=path)

    def push_to_hub(self, repo_id: str, *, private: bool = True, token: str | None = None) -> str:
        """Push the index as a data set of Parquet files, in place of the one that is there.

        Teachers of folders are left out, with a line in the log.

        Args:
            repo_id: `"org/name"`, or `"name"` for your own.
            private: whether only you see it.
            token: access token; by default the one of `hf auth login` or `HF_TOKEN`.

        Returns:
            The address of the commit.

        Raises:
            PublishingError: if the Hub refuses.
            InvalidArgumentError: if the index holds no teacher of the Hub.
        """
        return push_table(self._table, repo_id, private=private, token=token)

    def __len__(self) -> int:
        """Number of teachers."""
        return len(self._table)

    @property
    def teachers(self) -> list[TeacherCandidate]:
        """All teachers of the index."""
        return candidates_of(self._table)

    def search(
        self,
        label_names: Sequence[str] | ClassLabel | Dataset,
        *,
        k: int = 50,
        label_column: str | None = None,
        task: str | None = None,
        max_parameters: float | int | None = None,
        license: str | None = None,
        language: str | None = None,
        min_downloads: int | None = None,
        gated: bool = False,
    ) -> list[TeacherCandidate]:
        """The teachers whose classes are nearest to those of a data set by their names, best first.

        Classes are carried over by unbalanced transport between names. Of teachers with the same classes the more
        downloaded one comes first.

        Args:
            label_names: names of the classes, the feature that has them, or one split of rows.
            k: most teachers to return, at least 1; fewer are returned where fewer resemble the classes at all.
            label_column: of the rows; found by its type or usual name when None.
            task: the Hub's task tag.
            max_parameters: largest number of parameters.
            license: licence identifier.
            language: language tag.
            min_downloads: fewest downloads of the last 30 days.
            gated: whether to return teachers too whose author must grant access first, or that have a problem.

        Raises:
            InvalidArgumentError: if a value is out of range, all splits or a stream of rows are given, or no class has
                a name that says something.
            DatasetError: if the rows have no classes.
        """
        conditions = TeacherFilter(
            task=task,
            max_parameters=max_parameters,
            license=license,
            language=language,
            min_downloads=min_downloads,
            gated=gated,
        )
        return [
            teacher for teacher, _ in self.search_with_costs(label_names, conditions, k=k, label_column=label_column)
        ]

    def search_with_costs(
        self,
        label_names: Sequence[str] | ClassLabel | Dataset,
        conditions: TeacherFilter | None = None,
        *,
        k: int = 50,
        label_column: str | None = None,
    ) -> list[tuple[TeacherCandidate, float]]:
        """The same with the transport cost of each: 0 for the same classes, about 1 for unrelated ones.

        Args:
            label_names: names of the classes, or the rows that have them.
            conditions: which teachers may be returned.
            k: most teachers to return.
            label_column: of the rows.

        Raises:
            InvalidArgumentError: as for `search`.
            DatasetError: as for `search`.
        """
        if not isinstance(k, int) or k < 1:
            raise InvalidArgumentError(f"`k` must be at least 1, got {k!r}. Give a whole number, such as 50.")
        names = _plain_names(label_names, label_column)
        if not self._spaces.names:
            return []
        mask = (TeacherFilter() if conditions is None else conditions).mask(self._columns)
        allowed = None if mask is None else self._spaces_with(mask)
        target = self._names.resembling(unit_vectors(self._encoder, names), self._spaces)
        spaces, costs = best_spaces(target, self._spaces, k, allowed)
        rows, row_costs = self._first_rows(spaces, costs, mask, k)
        return list(zip(candidates_of(self._table.take(pa.array(rows, type=pa.int64()))), row_costs, strict=True))

    @cached_property
    def _spaces(self) -> LabelSpaces:
        return LabelSpaces.of(self._table["label_names"], self._columns.downloads)

    @cached_property
    def _columns(self) -> FilterColumns:
        return FilterColumns.of(self._table)

    @cached_property
    def _names(self) -> NameSearch:
        names, encoder, cache = self._spaces.names, self._encoder, self._cache
        vectors = unit_vectors(encoder, names) if cache is None else cache.unit_vectors(encoder, names)
        neighbours = neighbours_among(vectors) if cache is None else cache.neighbours(encoder, vectors)
        return NameSearch(vectors, neighbours, unrelated_similarity(encoder))

    @cached_property
    def _space_of_row(self) -> np.ndarray:
        spaces = np.full(len(self._table), len(self._spaces.sizes), dtype=np.int32)
        counts = np.diff(self._spaces.teachers.offsets)
        spaces[self._spaces.teachers.values] = np.repeat(np.arange(len(counts)), counts)
        return spaces

    def _spaces_with(self, mask: np.ndarray) -> np.ndarray:
        """The spaces of which some teacher is in a mask."""
        allowed = np.zeros(len(self._spaces.sizes) + 1, dtype=bool)  # the last one for teachers without names
        allowed[self._space_of_row[mask]] = True
        return allowed[:-1]

    def _first_rows(
        self, spaces: np.ndarray, costs: np.ndarray, mask: np.ndarray | None, count: int
    ) -> tuple[list[int], list[float]]:
        rows: list[int] = []
        row_costs: list[float] = []
        for space, cost in zip(spaces, costs, strict=True):
            teachers = self._spaces.teachers[space]
            teachers = teachers if mask is None else teachers[mask[teachers]]
            rows += teachers[: count - len(rows)].tolist()
            row_costs += [float(cost)] * (len(rows) - len(row_costs))
            if len(rows) == count:
                break
        return rows, row_costs


def _plain_names(labels: object, label_column: str | None) -> list[str]:
    names = _names(labels, label_column)
    informative = [plain_name(name) for name in names if is_informative(name)]
    if not informative:
        raise InvalidArgumentError(
            f"`label_names` must name classes, got {list(names)[:3]}, which say nothing. Give names such as 'cat', or "
            "search by `task` with `hub_teachers`."
        )
    return list(dict.fromkeys(informative))


def _names(labels: object, label_column: str | None) -> list[str]:
    if isinstance(labels, Dataset):
        return list(class_ids(labels, find_label(labels.features, label_column))[0].names)
    if isinstance(labels, ClassLabel):
        return list(labels.names or ())
    if isinstance(labels, str):
        return [labels]
    wrong: object = labels
    if isinstance(labels, Iterable) and not isinstance(labels, Mapping | IterableDataset):
        names = list(labels)
        if all(isinstance(name, str) for name in names):
            return names
        wrong = next(name for name in names if not isinstance(name, str))
    raise InvalidArgumentError(
        f"`label_names` must be names of classes, or one split as a datasets.Dataset, got {type(wrong).__name__}. Pass "
        "a list of names, or a split, such as dataset['train']; take rows from a stream first."
    )
