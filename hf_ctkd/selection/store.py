"""Scores on disk, so that a run that was interrupted goes on where it stopped."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records import read_json, write_json

_KIND = "teacher-scores"


@dataclass(frozen=True)
class StoredScores:
    """What is known of one teacher on one set of rows.

    Args:
        scores: a metric with its settings -> value; None where the metric does not apply.
        seconds: time that it took to load, run and score it, over all runs.
        parameters: its number of parameters.
    """

    scores: Mapping[str, float | None] = field(default_factory=dict)
    seconds: float = 0.0
    parameters: int | None = None


class ScoreStore:
    """One small file for each teacher and set of rows, in one folder.

    Args:
        folder: made when something is first written.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def read(self, key: Mapping[str, str]) -> StoredScores:
        """What was stored under a key, or nothing; a file that cannot be read counts as nothing.

        Args:
            key: all that shapes the scores besides the metric: rows, teacher, versions.
        """
        try:
            found = read_json(self._path(key), _KIND)
            return StoredScores(found["scores"], found["seconds"], found["parameters"])
        except (InvalidArgumentError, KeyError):
            return StoredScores()

    def write(self, key: Mapping[str, str], stored: StoredScores) -> None:
        """Write all that is known under a key, whole or not at all.

        Raises:
            InvalidArgumentError: if the folder cannot be written.
        """
        write_json(self._path(key), {"kind": _KIND, "key": dict(key), **vars(stored)})

    def _path(self, key: Mapping[str, str]) -> Path:
        digest = hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()[:32]
        return self.folder / f"{digest}.json"
