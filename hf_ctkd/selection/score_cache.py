"""Scores on disk, so that an interrupted run continues where it stopped."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records import read_record, write_json

_KIND = "teacher-scores"
_FORMAT = 2


@dataclass(frozen=True)
class CachedScores:
    """The scores of one teacher on one set of rows.

    Args:
        scores: a metric with its settings -> value; None where the metric does not apply.
        seconds: time spent on loading, running and scoring it, over all runs.
        parameters: its number of parameters; None if it was never loaded.
        row_values: a metric with its settings -> its values on the rows, where it is a mean over rows and orders a
            ranking; None for a row that it does not judge.
        seconds_per_1000_rows: as in `RankedTeacher`.
        not_finite: as in `RankedTeacher`.
        key: all that shapes the scores besides the metric: rows, teacher, versions.
    """

    scores: Mapping[str, float | None] = field(default_factory=dict)
    seconds: float = 0.0
    parameters: int | None = None
    row_values: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    seconds_per_1000_rows: float | None = None
    not_finite: int = 0
    key: Mapping[str, str] = field(default_factory=dict)


class ScoreCache:
    """One small file for each teacher and set of rows, in one folder.

    Args:
        folder: created when something is first written.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def read(self, key: Mapping[str, str]) -> CachedScores:
        """The scores that were written under a key; none if there is no file, or a damaged one.

        Args:
            key: as in `CachedScores`.
        """
        try:
            return read_record(self._path(key), CachedScores, kind=_KIND, format=_FORMAT)
        except InvalidArgumentError:
            return CachedScores(key=dict(key))

    def write(self, scores: CachedScores) -> None:
        """Replace the scores under their key, completely or not at all.

        Raises:
            InvalidArgumentError: if the folder cannot be written.
        """
        write_json(self._path(scores.key), {"kind": _KIND, "format": _FORMAT, **asdict(scores)})

    def _path(self, key: Mapping[str, str]) -> Path:
        digest = hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()[:32]
        return self.folder / f"{digest}.json"
