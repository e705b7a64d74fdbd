"""The files of an index: Parquet parts in a folder, added to as an index is built."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.index.specification import SCHEMA, checked
from hf_ctkd.records import write_bytes

DATA = "data"
"""The folder of the parts within that of the index, as data sets of the Hub have it."""
_PART = "teachers-{:06d}.parquet"
_PART_ROWS = 100_000


class PartFolder:
    """The parts of one index; of several rows of a teacher the one in the last part counts.

    Args:
        folder: of the index; made when the first part is written.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    @property
    def parts(self) -> list[Path]:
        """The files in the order in which they were written."""
        return sorted((self.folder / DATA).glob("teachers-*.parquet"))

    def append(self, table: pa.Table) -> None:
        """Add a part; it is there whole or not at all.

        Args:
            table: with the columns of `SCHEMA`.
        """
        last = re.search(r"(\d+)\.parquet$", self.parts[-1].name) if self.parts else None
        self._write(table, 0 if last is None else int(last[1]) + 1)

    def read(self) -> pa.Table:
        """One row a teacher.

        Raises:
            InvalidArgumentError: if a part cannot be read, or is no part of an index.
        """
        tables = [read_part(part) for part in self.parts]
        return latest(pa.concat_tables(tables)) if tables else SCHEMA.empty_table()

    def compact(self, downloads: Mapping[str, int]) -> pa.Table:
        """Write the parts anew, as few, with one row a teacher; a crash on the way leaves an index that reads the same.

        Args:
            downloads: new numbers of downloads by id on the Hub; others stay.
        """
        before, table = self.parts, with_downloads(self.read(), downloads)
        if len(before) > -(-max(len(table), 1) // _PART_ROWS) or downloads:
            for part in parts_of(table):
                self.append(part)
            for path in before:
                path.unlink()
        return table

    def _write(self, table: pa.Table, number: int) -> None:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        write_bytes(self.folder / DATA / _PART.format(number), sink.getvalue().to_pybytes())


def parts_of(table: pa.Table) -> Iterator[pa.Table]:
    """Cut a table into those of one part each.

    Args:
        table: of any length.
    """
    return (table.slice(start, _PART_ROWS) for start in range(0, len(table), _PART_ROWS))


def read_part(path: Path | str) -> pa.Table:
    """Read one file of an index.

    Args:
        path: of the file.

    Raises:
        InvalidArgumentError: if it cannot be read, or is no file of an index.
    """
    try:
        table = pq.read_table(path, partitioning=None)
    except (OSError, pa.ArrowInvalid) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise InvalidArgumentError(
            f"{path} cannot be read as Parquet: {reason}. Restore the file, or build the index again."
        ) from error
    return checked(table, str(path))


def latest(table: pa.Table) -> pa.Table:
    """Of several rows of a teacher the last one.

    Args:
        table: with the columns of `SCHEMA`.
    """
    numbered = pa.table({"id": table["id"], "source": table["source"], "row": pa.array(np.arange(len(table)))})
    rows = numbered.group_by(["id", "source"]).aggregate([("row", "max")])["row_max"]
    return table if len(rows) == len(table) else table.take(rows.combine_chunks().sort())


def with_downloads(table: pa.Table, downloads: Mapping[str, int]) -> pa.Table:
    """A table with new numbers of downloads.

    Args:
        table: with the columns of `SCHEMA`.
        downloads: by id on the Hub; others stay.
    """
    if not downloads:
        return table
    columns = (table[name].to_pylist() for name in ("id", "source", "downloads"))
    rows = zip(*columns, strict=True)
    values = [downloads.get(name, number) if source == "hub" else number for name, source, number in rows]
    column = SCHEMA.get_field_index("downloads")
    return table.set_column(column, SCHEMA.field(column), pa.array(values, type=pa.int64()))
