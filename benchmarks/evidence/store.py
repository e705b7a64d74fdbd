"""Results on disk: one small file a finished run, merged into one CSV."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hf_ctkd.records import write_text

RUNS = (
    "key", "task", "labels", "modality", "teacher", "method", "seed", "times", "accuracy", "macro_f1",
    "validation_accuracy", "steps", "learning_rate", "weight_decay", "label_smoothing", "loss_weight", "seconds",
    "error",
)  # fmt: skip
SCORES = ("key", "task", "labels", "modality", "teacher", "seed", "metric", "value")


class Store:
    """The rows of one table.

    A finished run is written to a file of its own, whole or not at all, so that an interruption costs nothing that was
    finished; `merge` sorts all of them into the CSV.

    Args:
        folder: of the results.
        name: of the table.
        columns: of the table; the first identifies a run, which may have several rows.
    """

    def __init__(self, folder: Path, name: str, columns: Sequence[str]) -> None:
        self.table = folder / f"{name}.csv"
        self.parts = folder / ".parts" / name
        self.columns = tuple(columns)

    def add(self, key: str, rows: Sequence[Mapping[str, object]]) -> None:
        write_text(self.parts / f"{key}.json", json.dumps(list(rows)))

    def rows(self) -> list[dict[str, str]]:
        """All rows, those of the CSV and those not merged yet; the latter win.

        A column that the CSV was written without is empty.
        """
        rows_by_key: dict[str, list[dict[str, str]]] = {}
        if self.table.is_file():
            with self.table.open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    rows_by_key.setdefault(row[self.columns[0]], []).append(
                        {name: row.get(name, "") for name in self.columns}
                    )
        for path in sorted(self.parts.glob("*.json")):
            rows = json.loads(path.read_text(encoding="utf-8"))
            rows_by_key[path.stem] = [{name: str(row.get(name, "")) for name in self.columns} for row in rows]
        return [row for rows in rows_by_key.values() for row in rows]

    def done(self) -> set[str]:
        """Keys of the runs that finished without an error; failed ones are tried again."""
        return {row[self.columns[0]] for row in self.rows() if not row.get("error")}

    def merge(self) -> list[dict[str, str]]:
        """Write the CSV anew, in an order that does not depend on who finished first."""
        merged = list(self.parts.glob("*.json"))
        rows = sorted(self.rows(), key=lambda row: [row[name] for name in self.columns[1:]])
        write_text(self.table, _as_csv(self.columns, rows))
        for path in merged:
            path.unlink(missing_ok=True)
        return rows


def _as_csv(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    class Lines(list):
        def write(self, line: str) -> None:
            self.append(line)

    lines = Lines()
    writer = csv.DictWriter(lines, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return "".join(lines)
