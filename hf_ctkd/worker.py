"""A process in which a model is tried, and which can be ended: a thread cannot, whatever it waits for."""

import atexit
import contextlib
import importlib
import json
import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import IO

from hf_ctkd.errors import ProblemCode, TeacherUnavailableError

START_SECONDS = 300.0
"""Time limit of starting the process, which imports torch and transformers."""

_EXIT_SECONDS = 10.0
_MAIN = "from hf_ctkd.worker import serve; serve()"


class Worker:
    """Runs functions of a module, one after another, in a process of its own that is started again once it has ended.

    It is a plain program, since a process of `multiprocessing` would run the caller's main module again.

    Args:
        module: of the functions; its import counts as a part of starting.
    """

    def __init__(self, module: str) -> None:
        self.module = module
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    def run(self, seconds: float | int, function: str, *arguments: object) -> None:
        """Run a function in the process, and end the process if that takes too long.

        Args:
            seconds: time limit of the function; starting the process has a limit of its own, `START_SECONDS`.
            function: its name in the module; its result is dropped.
            arguments: of the function; they must be picklable.

        Raises:
            TeacherUnavailableError: as the function raised it, or because it took too long or ended its process.
        """
        process = self._running()
        # A process that has ended by now is noticed when its answer is read.
        with contextlib.suppress(BrokenPipeError):
            _pipe(process.stdin).write(pickle.dumps((function, arguments)))
        problem = self._answer(process, seconds)
        if isinstance(problem, list):
            raise TeacherUnavailableError(problem[0], ProblemCode(problem[1]))

    def close(self) -> None:
        """End the process, together with those that it started."""
        process, self._process = self._process, None
        if process is not None:
            _kill(process)
            process.wait()
            _pipe(process.stdin).close()
            _pipe(process.stdout).close()

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        # The same modules as in this process, wherever its path comes from.
        path = os.pathsep.join(folder for folder in sys.path if folder)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _MAIN, self.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            bufsize=0,
            start_new_session=True,  # a group of its own, to be ended as a whole
        )
        self._answer(self._process, START_SECONDS)
        return self._process

    def _answer(self, process: "subprocess.Popen[bytes]", seconds: float | int) -> object:
        line: bytes | None = None
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(_pipe(process.stdout).readline)
            try:
                line = reading.result(seconds)
            except FutureTimeoutError:
                pass
            finally:
                if not reading.done():  # too late or interrupted: the pool waits for the end of the pipe
                    _kill(process)
        if line is None:
            self.close()
            raise TeacherUnavailableError(
                f"loading it and one forward pass take more than {seconds:g} seconds (`timeout`). Allow more, or "
                "choose another.",
                ProblemCode.TIMED_OUT,
            )
        if not line.endswith(b"\n"):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_EXIT_SECONDS)  # its pipe ends a moment before it has an exit code
            self.close()
            raise TeacherUnavailableError(
                f"it ended the process that tried it (exit code {process.returncode}). Choose another.",
                ProblemCode.CRASHED,
            )
        return json.loads(line)


def serve() -> None:
    """Run what comes through standard input until it is closed, each answered by a line on standard output."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "w")
    # What a model prints must not be taken for an answer.
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    module = importlib.import_module(sys.argv[1])
    problem: object = None
    while True:
        print(json.dumps(problem), file=answers, flush=True)
        try:
            function, arguments = pickle.load(requests)
        except EOFError:
            return
        try:
            vars(module)[function](*arguments)
            problem = None
        except TeacherUnavailableError as error:
            problem = [str(error), error.code.value]


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("the process was started without pipes")
    return pipe


def _kill(process: "subprocess.Popen[bytes]") -> None:
    if os.name != "posix":
        process.kill()
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
