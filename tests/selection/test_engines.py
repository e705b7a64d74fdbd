import os
import subprocess
import sys
import time

import pytest
import torch

from hf_ctkd.errors import InvalidArgumentError, ProblemCode, TeacherUnavailableError
from hf_ctkd.selection.engines import ProcessExecutor, dask_executor, died_with_worker

DIES_WITH_ITS_PARENT = """
import os, time
from hf_ctkd.selection.engines import ProcessExecutor
if __name__ == "__main__":
    executor = ProcessExecutor(1)
    print(executor.submit(os.getpid).result(), flush=True)
    executor.submit(time.sleep, 600)
    time.sleep(1)
    os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
def test_a_task_that_ends_its_process_costs_itself_alone():
    torch.set_num_threads(2)
    with ProcessExecutor(2) as executor:
        first, fatal, *others = (
            executor.submit(fn, *words) for fn, *words in [[os.getpid], [os._exit, 3], *[[abs, -3]] * 6]
        )
        assert first.result() != os.getpid()
        assert [other.result() for other in others] == [3] * 6
        with pytest.raises(
            TeacherUnavailableError, match="it ended the process that scored it. Choose another"
        ) as error:
            fatal.result()
        assert error.value.code is ProblemCode.CRASHED
        assert executor.submit(torch.get_num_threads).result() == 1


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills a process by a signal")
def test_a_process_ends_with_its_parent(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(DIES_WITH_ITS_PARENT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    killed = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=120)
    assert killed.returncode == -9, killed.stderr
    pid = int(killed.stdout)
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the process is still there")


def test_the_number_of_processes_is_checked():
    with pytest.raises(InvalidArgumentError, match="`processes` must be at least 1, got 0"):
        ProcessExecutor(0)


def test_a_scheduler_that_is_not_there(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("hf_ctkd.selection.engines._CONNECT_SECONDS", 0.5)
    message = "`scheduler` 'tcp://127.0.0.1:9' cannot be reached: .* Give the address that `dask scheduler` printed"
    with pytest.raises(InvalidArgumentError, match=message), dask_executor("tcp://127.0.0.1:9"):
        pass


def test_only_the_death_of_workers_counts_as_one():
    distributed = pytest.importorskip("distributed")
    assert died_with_worker(distributed.KilledWorker("task", None, 3))
    assert not died_with_worker(ValueError())
