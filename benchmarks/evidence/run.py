"""Make the runs: the missing ones, in several processes, within a time budget."""

import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.evidence.grid import PLAIN, STEPS, Cell, Extras, Run, teachers_of
from benchmarks.evidence.grid import SCORES as RANKING
from benchmarks.evidence.scores import rank
from benchmarks.evidence.settings import Settings, Tuned
from benchmarks.evidence.store import RUNS, SCORES, Store
from benchmarks.evidence.student import Job, RunSettings, key_of, quiet, task_of, train

SECONDS = {"image": 2.5, "text": 5.0}
"""Of one run on an idle core, for the plan."""
FIRST_GUESS = 15.0
"""Seconds that the first runs may take: they start a process and run teachers."""


@dataclass(frozen=True)
class Suite:
    """What is measured, where, and with what.

    Args:
        folder: of the results; `tuning.json` is read from it.
        run_settings: zoos and scratch space.
        extras: what joins from outside.
        full: the whole zoo.
        processes: how many runs at once, each on one thread.
        say: takes each line for the user.
    """

    folder: Path
    run_settings: RunSettings
    extras: Extras = Extras()
    full: bool = False
    processes: int = 2
    say: Callable[[str], None] = print

    def modality(self, task: str) -> str:
        built_in = Cell(task, 0).modality
        labels = [cell.labels for cell in self.extras.tasks if cell.task == task]
        return built_in or task_of(task, labels[0], 0).modality

    @property
    def runs(self) -> Store:
        return Store(self.folder, "runs", RUNS)

    @property
    def scores(self) -> Store:
        return Store(self.folder, "scores", SCORES)

    def job(self, run: Run, tuned: Tuned, settings: Settings | None = None) -> Job:
        modality = self.modality(run.cell.task)
        return Job(run, settings or tuned.of(run.method, modality), tuned.of(PLAIN, modality), self.run_settings)

    def key(self, job: Job) -> str:
        return key_of(job, self.modality(job.run.cell.task))


def measure(suite: Suite, planned: Sequence[Run], *, seconds: float | None) -> None:
    """Make those runs of the plan that are missing, until the time is up, and merge them into the tables.

    Args:
        suite: what is measured, where.
        planned: in the order in which they are to be made.
        seconds: stop in time for no run to end later than this; None for all.
    """
    until = None if seconds is None else time.monotonic() + seconds
    tuned = Tuned.load(suite.folder / "tuning.json")
    jobs = list(_missing(suite, [suite.job(run, tuned) for run in planned]))
    expected = sum(SECONDS[suite.modality(job.run.cell.task)] * job.steps / STEPS for job in jobs) / suite.processes
    suite.say(f"{len(planned)} runs planned, {len(jobs)} missing: about {expected / 60:.0f} minutes on idle cores")
    work_through(suite, jobs, until)
    suite.say(f"{len(suite.runs.merge())} runs, {len(suite.scores.merge())} scores in {suite.folder}")


def _missing(suite: Suite, jobs: Iterable[Job]) -> Iterable[Job]:
    done = {True: suite.scores.done(), False: suite.runs.done()}
    for job in jobs:
        if suite.key(job) not in done[job.run.method == RANKING]:
            yield job


def work_through(suite: Suite, jobs: Sequence[Job], until: float | None) -> None:
    """Run jobs in processes; a failure becomes a row that says why, and never ends the others."""
    in_processes(
        jobs,
        partial(work, suite),
        partial(_note_failure, suite),
        processes=suite.processes,
        until=until,
        weight=lambda job: job.steps / STEPS,
        say=suite.say,
    )


def in_processes(
    jobs: Iterable[Any],
    make: Callable[[Any], None],
    note_failure: Callable[[Any, BaseException], None],
    *,
    processes: int,
    until: float | None,
    weight: Callable[[Any], float],
    say: Callable[[str], None],
    guess: float | None = None,
) -> None:
    """Make runs in processes of their own, in order, as long as the next one is expected to end in time.

    A run takes `weight` times as long as a usual one, and that `guess` seconds (`FIRST_GUESS` when None) until one has
    ended; `note_failure` is told of each that failed, and why.
    """
    started, finished, units = time.monotonic(), 0, 0.0
    queue = deque(jobs)
    running: dict[Future, Any] = {}
    # Spawned, not forked: a fork of a process in which torch has run threads may hang.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=quiet) as pool:
        while True:
            unit = (time.monotonic() - started) * processes / units if units else guess or FIRST_GUESS
            while queue and len(running) < processes and _in_time(1.5 * unit * weight(queue[0]), until):
                job = queue.popleft()
                running[pool.submit(make, job)] = job
            if not running:
                return
            for job, error in _ended(running):
                if error is not None:
                    note_failure(job, error)
                finished, units = finished + 1, units + weight(job)
                if finished % 50 == 0:
                    say(f"{finished} runs in {time.monotonic() - started:.0f} s")


def _ended(running: dict[Future, Any]) -> list[tuple[Any, BaseException | None]]:
    """Wait for the first to end; those that did, taken out, with their errors."""
    done = wait(running, return_when=FIRST_COMPLETED).done
    return [(running.pop(future), future.exception()) for future in done]


def _in_time(seconds: float, until: float | None) -> bool:
    return until is None or time.monotonic() + seconds < until


def work(suite: Suite, job: Job) -> None:
    """One run, in a process of its own; writes its rows."""
    modality = suite.modality(job.run.cell.task)
    key = suite.key(job)
    if job.run.method == RANKING:
        suite.scores.add(key, rank(job, modality, teachers_of(modality, suite.full, suite.extras)))
    else:
        suite.runs.add(key, [train(job)])


def reason_of(error: BaseException) -> str:
    """Why a run failed, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _note_failure(suite: Suite, job: Job, error: BaseException) -> None:
    reason = reason_of(error)
    run = job.run
    suite.say(f"{run.cell}, {run.method}, {run.teacher or 'no teacher'}, seed {run.seed} failed: {reason}")
    if run.method == RANKING:
        return
    key = suite.key(job)
    values = {
        "key": key,
        "task": run.cell.task,
        "labels": run.cell.labels,
        "modality": suite.modality(run.cell.task),
        "teacher": run.teacher,
        "method": run.method,
        "seed": run.seed,
        "times": run.times,
        "error": reason,
    }
    suite.runs.add(key, [{name: values.get(name, "") for name in RUNS}])
