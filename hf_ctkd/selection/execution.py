"""The candidates of a ranking, scored in turn, on the workers of an executor, or by the processes of accelerate."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import closing
from dataclasses import replace

from hf_ctkd.errors import InvalidArgumentError, ProblemCode, TeacherUnavailableError
from hf_ctkd.hub import NewDownloads
from hf_ctkd.records import RankedTeacher, TeacherCandidate
from hf_ctkd.selection.downloads import fetched_ahead
from hf_ctkd.selection.engines import died_with_worker
from hf_ctkd.selection.leaderboard import Progress
from hf_ctkd.selection.scorer import Scorer
from hf_ctkd.selection.scoring_job import ScoringJob, score_candidate
from hf_ctkd.teachers import LocalAccelerator, on_all, on_main

_SECONDS_BETWEEN_CHECKS = 0.5
"""Of the time limit, while no worker finishes a teacher."""


def score_in_turn(
    scorer: Scorer,
    candidates: Iterator[TeacherCandidate],
    progress: Progress,
    new_downloads: NewDownloads | None = None,
) -> list[RankedTeacher]:
    """Score one candidate after the other, the next one being fetched meanwhile; several processes share its rows.

    Args:
        scorer: of the ranking.
        candidates: looked up one by one, by the main process alone: two searches of the Hub may list different ones.
        progress: is told of each.
        new_downloads: deletes what was downloaded for a candidate once it is scored; None to keep it.

    Raises:
        DatasetError: if a row cannot be read.
        InvalidArgumentError: if the cache cannot be written.
    """
    teachers = []

    def delete(candidate: TeacherCandidate, others: Sequence[TeacherCandidate]) -> None:
        if new_downloads is not None and candidate.model_id not in {other.model_id for other in others}:
            new_downloads.delete([candidate])

    with closing(fetched_ahead(candidates, scorer.fetch, delete)) as fetched:
        while (pair := on_main(scorer.accelerator, lambda: next(fetched, None))) is not None:
            candidate, problem = pair
            progress.start(candidate)
            teachers.append(scorer.score(candidate) if problem is None else RankedTeacher.unusable(candidate, problem))
            progress.finish(teachers[-1])
    return teachers


def score_by_processes(
    scorer: Scorer,
    candidates: Iterator[TeacherCandidate],
    progress: Progress,
    new_downloads: NewDownloads | None = None,
) -> list[RankedTeacher]:
    """Share the candidates among the processes of `accelerate launch`, each with its device, the largest first.

    Fewer candidates than processes are scored in turn, so that no process idles.

    Args:
        scorer: of the ranking.
        candidates: listed by the main process alone.
        progress: of the main process, which is told of its share.
        new_downloads: deletes what was downloaded in the end, on the machine of the main process; None to keep it.

    Raises:
        DatasetError: if a row cannot be read.
        InvalidArgumentError: if the cache cannot be written.
    """
    accelerator = scorer.accelerator
    listed = on_main(accelerator, lambda: list(candidates))
    processes = accelerator.num_processes
    if len(listed) < processes:
        return score_in_turn(scorer, iter(listed), progress, new_downloads)
    alone = replace(scorer, accelerator=LocalAccelerator())

    def score(share: Sequence[int]) -> list[tuple[int, RankedTeacher]]:
        return list(zip(share, score_in_turn(alone, (listed[index] for index in share), progress), strict=True))

    # Shares are consecutive, so the largest candidates are dealt out first.
    by_size = sorted(range(len(listed)), key=lambda index: -(listed[index].parameters or 0))
    dealt = [index for process in range(processes) for index in by_size[process::processes]]
    with accelerator.split_between_processes(dealt) as share:
        shares = on_all(accelerator, lambda: score(share))
    if new_downloads is not None and accelerator.is_main_process:
        new_downloads.delete(listed)
    return [teacher for _, teacher in sorted((pair for part in shares for pair in part), key=lambda pair: pair[0])]


def score_on_workers(
    scorer: Scorer,
    candidates: Iterator[TeacherCandidate],
    progress: Progress,
    executor: Executor,
    new_downloads: NewDownloads | None = None,
) -> list[RankedTeacher]:
    """Have the workers of an executor score the candidates; it queues them, and replaces workers if it does that.

    Args:
        scorer: of the ranking.
        candidates: submitted as they are listed.
        progress: is told of each as it is finished.
        executor: whose workers can read and write the cache.
        new_downloads: deletes what was downloaded for a candidate once it is scored, from the cache of huggingface_hub
            on this machine; None to keep it.

    Returns:
        In the order of the candidates.

    Raises:
        DatasetError: if a row cannot be read.
        InvalidArgumentError: if the cache cannot be written, or the executor broke down.
    """
    listed: dict[int, TeacherCandidate] = {}

    def numbered() -> Iterator[tuple[int, TeacherCandidate]]:
        for pair in enumerate(candidates):
            listed.update([pair])
            yield pair

    teachers: dict[int, RankedTeacher] = {}
    for number, teacher in scores_of_workers(executor, ScoringJob.of(scorer), numbered()):
        teachers[number] = teacher
        progress.finish(teacher)
        if new_downloads is not None:
            in_use = {candidate.model_id for other, candidate in listed.items() if other not in teachers}
            new_downloads.delete(listed[other] for other in teachers if listed[other].model_id not in in_use)
    return [teachers[number] for number in listed]


def scores_of_workers(
    executor: Executor,
    job: ScoringJob,
    candidates: Iterable[tuple[int, TeacherCandidate]],
    may_start: Callable[[], bool] = lambda: True,
) -> Iterator[tuple[int, RankedTeacher]]:
    """Have workers score candidates, and give the number and the scores of each as it is finished.

    Args:
        executor: its workers can read and write the cache.
        job: what all candidates have in common.
        candidates: with numbers that tell them apart; all of them are submitted first.
        may_start: is asked again and again; once it says no, only what has been begun is finished.

    Raises:
        DatasetError: if a row cannot be read.
        InvalidArgumentError: if the cache cannot be written, or the executor broke down.
    """
    futures: dict[Future[RankedTeacher], tuple[int, TeacherCandidate]] = {}
    try:
        for number, candidate in candidates:
            futures[executor.submit(score_candidate, job, candidate)] = number, candidate
        pending = set(futures)
        while pending:
            finished, pending = wait(pending, _SECONDS_BETWEEN_CHECKS, FIRST_COMPLETED)
            for future in finished:
                number, candidate = futures[future]
                yield number, _result(future, candidate)
            if pending and not may_start():
                pending = {future for future in pending if not future.cancel()}
    except BrokenExecutor as error:
        raise InvalidArgumentError(
            "`executor` broke down because one of its workers ended. Finished teachers are on disk: run again, with "
            "`timeout` to try each in a process of its own, or with `processes` in place of `executor`."
        ) from error
    finally:
        for future in futures:
            future.cancel()


def _result(future: "Future[RankedTeacher]", candidate: TeacherCandidate) -> RankedTeacher:
    error = future.exception()
    if error is not None and died_with_worker(error):
        reason = "each worker that scored it died. Choose another, or allow workers more memory."
        error = TeacherUnavailableError(reason, ProblemCode.CRASHED)
    if isinstance(error, TeacherUnavailableError):
        return RankedTeacher.unusable(candidate, error)
    return future.result()
