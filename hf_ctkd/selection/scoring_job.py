"""The scoring of one candidate as one function call that any executor can run anywhere."""

import multiprocessing
import os
import pickle
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.metrics import TransferabilityMetric
from hf_ctkd.records import RankedTeacher, TeacherCandidate
from hf_ctkd.selection.scorer import RunSettings, Scorer
from hf_ctkd.selection.stored_rows import read_rows, store_rows

# Random weights are drawn from torch's global generator, and models are loaded under global settings of the libraries.
_one_at_a_time = threading.Lock()
_imported_by = os.getpid()


@dataclass(frozen=True, eq=False)
class ScoringJob:
    """What a `Scorer` is made of, with the path of its rows in place of the rows.

    Args:
        metrics: the first one orders the ranking.
        rows: folder of the rows, which every worker can read.
        student: a student's probabilities on these rows; None for the labels.
        run_settings: where and how teachers are run; the cache is shared by all workers.
        seed: of the random control.
    """

    metrics: Sequence[TransferabilityMetric]
    rows: Path
    student: Float[Tensor, "rows classes"] | None
    run_settings: RunSettings
    seed: int

    @classmethod
    def of(cls, scorer: Scorer) -> "ScoringJob":
        """The job of a scorer, its rows written to the cache.

        Raises:
            DatasetError: if a row cannot be written.
            InvalidArgumentError: if the cache cannot be written, or a metric cannot be sent to another process.
        """
        folder = scorer.run_settings.folder.absolute()
        settings = replace(scorer.run_settings, folder=folder, progress=False)
        job = cls(scorer.metrics, store_rows(folder / "rows", scorer.rows), scorer.student, settings, scorer.seed)
        try:
            pickle.dumps(job)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise InvalidArgumentError(
                f"`metrics` cannot be sent to another process: {error}. Define their classes at the top of a module."
            ) from error
        return job


def score_candidate(job: ScoringJob, candidate: TeacherCandidate) -> RankedTeacher:
    """Score one candidate in whatever process this is called; its scores are on disk when it returns.

    A process scores one candidate at a time, on however many threads this is called.

    Args:
        job: the same for all candidates of a ranking.
        candidate: the teacher.

    Raises:
        DatasetError: if a row cannot be read.
        InvalidArgumentError: if the cache cannot be read or written, or this process was forked from one that has
            imported torch.
    """
    # A forked process has the locks of torch's threads without the threads, and would wait for them for ever.
    if os.getpid() != _imported_by and multiprocessing.parent_process() is not None:
        raise InvalidArgumentError(
            "The workers of `executor` were forked from a process that uses torch, where they would wait for ever. "
            "Spawn them, as `ProcessPoolExecutor(2, mp_context=multiprocessing.get_context('spawn'))` does, or pass "
            "`processes=2` in place of `executor`."
        )
    with _one_at_a_time:
        scorer = Scorer(job.metrics, read_rows(job.rows), job.student, Accelerator(), job.run_settings, job.seed)
        return scorer.score(candidate)
