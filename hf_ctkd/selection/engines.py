"""Executors: processes of this machine, each of which may die alone, and a Dask cluster."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection
from typing import Any

import torch

from hf_ctkd.errors import InvalidArgumentError, MissingExtraError, ProblemCode, TeacherUnavailableError

_CONNECT_SECONDS = 30


class ProcessExecutor(Executor):
    """Processes of this machine, among which a task that ends its process costs itself alone.

    `ProcessPoolExecutor` gives up every task once one of its processes has died. So each process here is a pool of its
    own, and is started again after its death.

    Args:
        processes: their number, at least 1; they share the threads that torch has in this process.

    Example:
        >>> with ProcessExecutor(2) as executor:  # doctest: +SKIP
        ...     ranking = TeacherSelector(executor=executor).rank(candidates, flowers["train"])
    """

    def __init__(self, processes: int) -> None:
        if processes < 1:
            raise InvalidArgumentError(f"`processes` must be at least 1, got {processes}.")
        self._threads = ThreadPoolExecutor(processes)
        self._threads_a_process = max(1, torch.get_num_threads() // processes)
        self._of_thread = threading.local()
        self._pools: list[ProcessPoolExecutor] = []
        self._first = threading.Lock()
        self._starts: bool | None = None

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":  # noqa: ANN401
        """Call a function in one of the processes; see `concurrent.futures.Executor.submit`.

        The future raises `TeacherUnavailableError` if the call ended its process, and `InvalidArgumentError` if none
        could be started, as in a script without `if __name__ == "__main__":`.
        """
        return self._threads.submit(self._run, fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes; see `concurrent.futures.Executor.shutdown`."""
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        for pool in self._pools:
            pool.shutdown(wait, cancel_futures=cancel_futures)

    def _run(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        try:
            return self._pool().submit(fn, *args, **kwargs).result()
        except BrokenProcessPool as error:
            self._of_thread.pool = None
            raise TeacherUnavailableError(
                "it ended the process that scored it. Choose another.", ProblemCode.CRASHED
            ) from error

    def _pool(self) -> ProcessPoolExecutor:
        pool = vars(self._of_thread).get("pool")
        if pool is None:
            # A forked process cannot use CUDA, and may inherit locks of torch's threads.
            spawn = multiprocessing.get_context("spawn")
            pool = ProcessPoolExecutor(1, spawn, initializer=_start, initargs=(self._threads_a_process,))
            self._pools.append(pool)
            self._require_start(pool)
            self._of_thread.pool = pool
        return pool

    def _require_start(self, pool: ProcessPoolExecutor) -> None:
        """Start the first process before any other, so that what forbids to start one is said once."""
        with self._first:
            if self._starts is None:
                try:
                    pool.submit(os.getpid).result()
                    self._starts = True
                except RuntimeError:  # of a broken pool, or of a process that is still running the script for another
                    self._starts = False
        if not self._starts:
            raise InvalidArgumentError(
                "The first of `processes` ended before it could score a teacher. It runs the script again from its "
                'top: keep it in a file, and what it does below `if __name__ == "__main__":`, or leave out `processes`.'
            )


def _start(threads: int) -> None:
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Without this a process waits for ever once its parent was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


@contextmanager
def dask_executor(scheduler: str) -> Iterator[Executor]:
    """The workers of a Dask cluster, which reschedules the teacher of a worker that died.

    Use it for several machines that share the folder of the cache. Start workers with one thread each
    (`dask worker ADDRESS --nthreads 1`), since a process scores one teacher at a time.

    Args:
        scheduler: its address, such as `"tcp://10.0.0.1:8786"`.

    Raises:
        MissingExtraError: if `distributed` is not installed.
        InvalidArgumentError: if the scheduler cannot be reached.

    Example:
        >>> with dask_executor("tcp://10.0.0.1:8786") as executor:  # doctest: +SKIP
        ...     ranking = TeacherSelector(executor=executor).rank(candidates, flowers["train"])
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingExtraError(
            "`scheduler` needs dask.distributed. Install it with `pip install hf_ctkd[dask]`."
        ) from error
    try:
        client = Client(scheduler, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InvalidArgumentError(
            f"`scheduler` {scheduler!r} cannot be reached: {error}. Give the address that `dask scheduler` printed."
        ) from error
    with client, client.get_executor() as executor:
        yield executor


def died_with_worker(error: BaseException) -> bool:
    """Tell whether an engine gave up a task because each worker that ran it died.

    Args:
        error: that the engine gave instead of a result.
    """
    try:
        from distributed import KilledWorker
    except ImportError:
        return False
    return isinstance(error, KilledWorker)
