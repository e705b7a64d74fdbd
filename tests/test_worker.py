import os
import time
from pathlib import Path

import pytest

from hf_ctkd.errors import ProblemCode, TeacherUnavailableError
from hf_ctkd.worker import Worker

FUNCTIONS = """
import ctypes, os, subprocess, sys, time
from hf_ctkd.errors import ProblemCode, TeacherUnavailableError

def write(path):
    print("what a model prints", flush=True)
    open(path, "w").write(str(os.getpid()))

def refuse(message):
    raise TeacherUnavailableError(message, ProblemCode.BROKEN)

def leave():
    os._exit(3)

def crash():
    ctypes.string_at(0)

def hang(path):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    open(path, "w").write(str(child.pid))
    while True:
        pass

def raise_own():
    raise RuntimeError("not caught")
"""


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("modules")
    (folder / "brought_along.py").write_text(FUNCTIONS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        worker = Worker("brought_along")
        yield worker
        worker.close()


def refused(worker, seconds, function, *arguments) -> tuple[str, ProblemCode]:
    with pytest.raises(TeacherUnavailableError) as error:
        worker.run(seconds, function, *arguments)
    return str(error.value), error.value.code


def test_one_process_runs_many_functions(worker, tmp_path):
    for name in ("a", "b"):
        worker.run(60, "write", str(tmp_path / name))
        assert refused(worker, 60, "refuse", "it is gated.\nAsk \ud800") == (
            "it is gated.\nAsk \ud800",
            ProblemCode.BROKEN,
        )
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() != str(os.getpid())


@pytest.mark.parametrize(("function", "code"), [("leave", "3"), ("crash", "-11"), ("raise_own", "1")])
def test_the_end_of_the_process_is_a_reason(worker, tmp_path, function, code):
    reason = f"it ended the process that tried it (exit code {code}). Choose another."
    assert refused(worker, 60, function) == (reason, ProblemCode.CRASHED)
    worker.run(60, "write", str(tmp_path / "after"))
    assert (tmp_path / "after").is_file()


def test_what_takes_too_long_is_ended_with_all_that_it_started(worker, tmp_path):
    worker.run(60, "write", str(tmp_path / "before"))
    start = time.monotonic()
    reason, code = refused(worker, 0.5, "hang", str(tmp_path / "child"))
    assert time.monotonic() - start < 5
    assert reason.startswith("loading it and one forward pass take more than 0.5 seconds (`timeout`). Allow more")
    assert code is ProblemCode.TIMED_OUT
    for name in ("before", "child"):
        process = Path(f"/proc/{(tmp_path / name).read_text()}/stat")
        deadline = time.monotonic() + 10
        while process.exists() and process.read_text().split(") ")[1][0] != "Z":
            assert time.monotonic() < deadline, f"{name} still runs"
            time.sleep(0.05)


def test_a_closed_worker_starts_again(worker, tmp_path):
    worker.close()
    worker.close()
    worker.run(60, "write", str(tmp_path / "again"))
    assert (tmp_path / "again").is_file()
