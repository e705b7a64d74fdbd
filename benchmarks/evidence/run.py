"""Make the runs: the missing ones, in several processes, within a time budget."""

import multiprocessing
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from benchmarks.evidence.grid import PLAIN, Cell, Extras, Run, teachers_of
from benchmarks.evidence.grid import SCORES as RANKING
from benchmarks.evidence.scores import rank
from benchmarks.evidence.settings import Settings, Tuned
from benchmarks.evidence.store import RUNS, SCORES, Store
from benchmarks.evidence.student import Job, Workplace, key_of, quiet, task_of, train

SECONDS = {"image": 2.5, "text": 5.0}
"""Of one run on an idle core, for the plan."""
FIRST_GUESS = 15.0
"""Seconds that the first runs may take: they start a process and run teachers."""


@dataclass(frozen=True)
class Suite:
    """What is measured, where, and with what.

    Args:
        folder: of the results; `tuning.json` is read from it.
        place: zoos and scratch space.
        extras: what joins from outside.
        full: the whole zoo.
        processes: how many runs at once, each on one thread.
        say: takes each line for the user.
    """

    folder: Path
    place: Workplace
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
        return Job(run, settings or tuned.of(run.method, modality), tuned.of(PLAIN, modality), self.place)

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
    expected = sum(SECONDS[suite.modality(job.run.cell.task)] for job in jobs) / suite.processes
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
    started, finished = time.monotonic(), 0
    queue, running = iter(jobs), {}
    # Spawned, not forked: a fork of a process in which torch has run threads may hang.
    with ProcessPoolExecutor(suite.processes, multiprocessing.get_context("spawn"), initializer=quiet) as pool:
        while True:
            mean = (time.monotonic() - started) * suite.processes / finished if finished else FIRST_GUESS
            while len(running) < suite.processes and (until is None or time.monotonic() + 1.5 * mean < until):
                job = next(queue, None)
                if job is None:
                    break
                running[pool.submit(work, suite, job)] = job
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                _note_failure(suite, running.pop(future), future)
                finished += 1
                if finished % 50 == 0:
                    suite.say(f"{finished} runs in {time.monotonic() - started:.0f} s")


def work(suite: Suite, job: Job) -> None:
    """One run, in a process of its own; writes its rows."""
    modality = suite.modality(job.run.cell.task)
    key = suite.key(job)
    if job.run.method == RANKING:
        suite.scores.add(key, rank(job, modality, teachers_of(modality, suite.full, suite.extras)))
    else:
        suite.runs.add(key, [train(job)])


def _note_failure(suite: Suite, job: Job, future: Future) -> None:
    error = future.exception()
    if error is None:
        return
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    run = job.run
    suite.say(f"{run.cell}, {run.method}, {run.teacher or 'no teacher'}, seed {run.seed} failed: {reason}")
    if run.method == RANKING:
        return
    key = suite.key(job)
    known = {
        "key": key,
        "task": run.cell.task,
        "labels": run.cell.labels,
        "modality": suite.modality(run.cell.task),
        "teacher": run.teacher,
        "method": run.method,
        "seed": run.seed,
        "error": reason,
    }
    suite.runs.add(key, [{name: known.get(name, "") for name in RUNS}])
