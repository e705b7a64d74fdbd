"""The candidates of a ranking, scored in turn, on the workers of an executor, or by the processes of accelerate."""

from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from dataclasses import replace

from hf_ctkd.errors import InvalidArgumentError, ProblemCode, TeacherUnavailableError
from hf_ctkd.records import RankedTeacher, TeacherCandidate
from hf_ctkd.selection.engines import died_with_worker
from hf_ctkd.selection.leaderboard import Progress
from hf_ctkd.selection.scorer import Scorer
from hf_ctkd.selection.scoring_job import ScoringJob, score_candidate
from hf_ctkd.teachers import LocalAccelerator, on_all, on_main


def score_in_turn(scorer: Scorer, candidates: Iterator[TeacherCandidate], progress: Progress) -> list[RankedTeacher]:
    """Score one candidate after the other; several processes share the rows of each.

    Args:
        scorer: of the ranking.
        candidates: looked up one by one, by the main process alone: two searches of the Hub may list different ones.
        progress: is told of each.

    Raises:
        DatasetError: if a row cannot be read.
        InvalidArgumentError: if the cache cannot be written.
    """
    teachers = []
    while (candidate := on_main(scorer.accelerator, lambda: next(candidates, None))) is not None:
        progress.start(candidate)
        teachers.append(scorer.score(candidate))
        progress.finish(teachers[-1])
    return teachers


def score_by_processes(
    scorer: Scorer, candidates: Iterator[TeacherCandidate], progress: Progress
) -> list[RankedTeacher]:
    """Share the candidates among the processes of `accelerate launch`, each with its device, the largest first.

    Fewer candidates than processes are scored in turn, so that no process idles.

    Args:
        scorer: of the ranking.
        candidates: listed by the main process alone.
        progress: of the main process, which is told of its share.

    Raises:
        DatasetError: if a row cannot be read.
        InvalidArgumentError: if the cache cannot be written.
    """
    accelerator = scorer.accelerator
    listed = on_main(accelerator, lambda: list(candidates))
    processes = accelerator.num_processes
    if len(listed) < processes:
        return score_in_turn(scorer, iter(listed), progress)
    alone = replace(scorer, accelerator=LocalAccelerator())

    def score(share: Sequence[int]) -> list[tuple[int, RankedTeacher]]:
        scored = []
        for index in share:
            progress.start(listed[index])
            scored.append((index, alone.score(listed[index])))
            progress.finish(scored[-1][1])
        return scored

    # Shares are consecutive, so the largest candidates are dealt out first.
    by_size = sorted(range(len(listed)), key=lambda index: -(listed[index].parameters or 0))
    dealt = [index for process in range(processes) for index in by_size[process::processes]]
    with accelerator.split_between_processes(dealt) as share:
        shares = on_all(accelerator, lambda: score(share))
    return [teacher for _, teacher in sorted((pair for part in shares for pair in part), key=lambda pair: pair[0])]


def score_on_workers(
    scorer: Scorer, candidates: Iterator[TeacherCandidate], progress: Progress, executor: Executor
) -> list[RankedTeacher]:
    """Have the workers of an executor score the candidates; it queues them, and replaces workers if it does that.

    Args:
        scorer: of the ranking.
        candidates: submitted as they are listed.
        progress: is told of each as it is finished.
        executor: whose workers can read and write the cache.

    Returns:
        In the order of the candidates.

    Raises:
        DatasetError: if a row cannot be read.
        InvalidArgumentError: if the cache cannot be written, or the executor broke down.
    """
    job = ScoringJob.of(scorer)
    futures: dict[Future[RankedTeacher], TeacherCandidate] = {}
    teachers = {}
    try:
        for candidate in candidates:
            futures[executor.submit(score_candidate, job, candidate)] = candidate
        for future in as_completed(futures):
            teachers[future] = _result(future, futures[future])
            progress.finish(teachers[future])
    except BrokenExecutor as error:
        raise InvalidArgumentError(
            "`executor` broke down because one of its workers ended. Finished teachers are on disk: run again, with "
            "`timeout` to try each in a process of its own, or with `processes` in place of `executor`."
        ) from error
    finally:
        for future in futures:
            future.cancel()
    return [teachers[future] for future in futures]


def _result(future: "Future[RankedTeacher]", candidate: TeacherCandidate) -> RankedTeacher:
    error = future.exception()
    if isinstance(error, TeacherUnavailableError):
        return RankedTeacher(candidate, skipped=str(error), skipped_code=error.code)
    if error is not None and died_with_worker(error):
        reason = "each worker that scored it died. Choose another, or allow workers more memory."
        return RankedTeacher(candidate, skipped=reason, skipped_code=ProblemCode.CRASHED)
    return future.result()
