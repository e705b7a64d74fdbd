"""The same ranking whichever engine scores the candidates, and what an engine's failures cost."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_all_start_methods, get_context

import pytest
import torch

from hf_ctkd.errors import DatasetError, InvalidArgumentError, ProblemCode
from hf_ctkd.hub import folder_teachers
from hf_ctkd.metrics import TransferabilityMetric
from hf_ctkd.records import TeacherCandidate, TeacherRanking
from hf_ctkd.selection import TeacherSelector
from hf_ctkd.types import Needs

CANDIDATES = ("first", "bad-nan", "headless", "second", "bad-config")


FORKS = """
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
import torch
from datasets import load_from_disk
from hf_ctkd import TeacherSelector
from hf_ctkd.errors import InvalidArgumentError
torch.randn(600, 600) @ torch.randn(600, 600)  # starts the threads
with ProcessPoolExecutor(2, mp_context=get_context("fork")) as executor:
    try:
        TeacherSelector(executor=executor, cache_dir="cache", progress=False).rank(sys.argv[1], load_from_disk("rows"))
    except InvalidArgumentError as error:
        print(error)
"""
WITHOUT_GUARD = """
import sys
from datasets import load_from_disk
from hf_ctkd import TeacherSelector
rows = load_from_disk("rows")
TeacherSelector("leep", metrics=(), processes=3, cache_dir="cache", progress=False).rank(sys.argv[1:], rows)
"""


@dataclass(frozen=True)
class EndsItsProcess(TransferabilityMetric):
    """Ends the process that scores a teacher without a head."""

    name = "ends_its_process"
    citation = "nobody"
    needs = Needs.FEATURES

    def of_rows(self, outputs, labels):
        if outputs.logits is None:
            os._exit(3)
        return float(outputs.logits.shape[1])


@pytest.fixture
def selector(tmp_path):
    return TeacherSelector(cache_dir=tmp_path / "cache", progress=False)


def outcome(ranking: TeacherRanking) -> list[tuple]:
    """All of a ranking but the time it took."""
    return [(t.candidate, t.scores, t.rows, t.skipped, t.skipped_code) for t in ranking.teachers]


@pytest.fixture
def candidates(zoo) -> list:
    """Sound and broken ones, a control, and one with a problem that is known beforehand."""
    gated = TeacherCandidate("org/gated", "abc", problem="it is gated: ask for access.")
    control = replace(next(folder_teachers(zoo / "first")), random_weights=True)
    return [*(zoo / name for name in CANDIDATES), gated, control]


@pytest.fixture
def run_script(rows, tmp_path):
    """A script in a folder with rows, in a process of its own that must end."""

    def run(text: str, *words) -> subprocess.CompletedProcess:
        rows.save_to_disk(tmp_path / "rows")
        (tmp_path / "script.py").write_text(text)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "script.py", *map(str, words)]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180)

    return run


@pytest.mark.slow
@pytest.mark.skipif("fork" not in get_all_start_methods(), reason="needs fork")
def test_forked_workers_are_refused_where_they_would_wait_for_ever(run_script, zoo):
    done = run_script(FORKS, zoo / "first")
    assert done.returncode == 0, done.stderr
    assert "The workers of `executor` were forked from a process that uses torch" in done.stdout
    assert "mp_context=multiprocessing.get_context('spawn')" in done.stdout and "`processes=2`" in done.stdout


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_so_once(run_script, zoo):
    done = run_script(WITHOUT_GUARD, zoo / "first", zoo / "second", zoo / "headless")
    *_, last = done.stderr.strip().splitlines()
    assert done.returncode == 1 and last.startswith(
        "hf_ctkd.errors.InvalidArgumentError: The first of `processes` ended"
    )
    assert 'and what it does below `if __name__ == "__main__":`' in last
    assert done.stderr.count("Traceback") == 2, "of the script and of its first process"
    assert "Choose another" not in done.stderr + done.stdout, "no teacher is blamed"


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_give_the_same_ranking(selector, candidates, rows, tmp_path, threads):
    plain = replace(selector, cache_dir=tmp_path / "plain").rank(candidates, rows)
    with ThreadPoolExecutor(threads) as executor:
        ranking = replace(selector, executor=executor).rank(iter(candidates), rows)
    assert len(ranking.scored) == 4
    assert outcome(ranking) == outcome(plain)
    assert list((tmp_path / "cache" / "rows").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_processes_give_the_same_ranking(selector, candidates, rows, tmp_path, processes, capfd):
    plain = replace(selector, cache_dir=tmp_path / "plain").rank(candidates, rows)
    ranking = replace(selector, processes=processes, progress=True).rank(candidates, rows)
    assert outcome(ranking) == outcome(plain)
    assert "first: information_gain " in capfd.readouterr().err


@pytest.mark.slow
def test_a_teacher_that_ends_its_process_costs_itself_alone(selector, zoo, rows):
    names = ("headless", "first", "second")
    metric = replace(selector, metric=EndsItsProcess(), metrics=())
    ranking = replace(metric, processes=2).rank([zoo / name for name in names], rows)
    assert [teacher.candidate.name for teacher in ranking.scored] == ["second", "first"]
    (skipped,) = (teacher for teacher in ranking.teachers if teacher.skipped is not None)
    assert skipped.candidate.name == "headless" and skipped.skipped_code is ProblemCode.CRASHED
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        broken = replace(metric, executor=executor)
        with pytest.raises(InvalidArgumentError, match="`executor` broke down .* Finished teachers are on disk"):
            broken.rank([zoo / name for name in names], rows)


def test_what_an_engine_computed_is_on_disk(selector, zoo, rows, passes):
    with ThreadPoolExecutor(2) as executor:
        on_workers = replace(selector, executor=executor)
        first = on_workers.rank([zoo / "first", zoo / "headless"], rows)
        count = len(passes)
        again = selector.rank([zoo / "first", zoo / "headless"], rows)
    assert count and len(passes) == count
    assert again.to_dict()["teachers"] == first.to_dict()["teachers"]


def test_a_row_that_cannot_be_read_ends_the_run(selector, zoo, rows, monkeypatch):
    def fail(self, rows):
        raise DatasetError("Row 31 of `image` holds no image")

    monkeypatch.setattr("hf_ctkd.data.TargetRows.inputs", fail)
    with ThreadPoolExecutor(1) as executor, pytest.raises(DatasetError, match="Row 31"):
        replace(selector, executor=executor).rank([zoo / "first", zoo / "second"], rows)


def test_a_metric_that_cannot_be_sent(selector, zoo, rows):
    class Local(EndsItsProcess):
        name = "local"

    with ThreadPoolExecutor(1) as executor:
        local = replace(selector, executor=executor, metric=Local(), metrics=())
        with pytest.raises(InvalidArgumentError, match="`metrics` cannot be sent to another process: .*Local"):
            local.rank(zoo / "first", rows)


def test_an_executor_and_processes_exclude_each_other():
    with (
        ThreadPoolExecutor(1) as executor,
        pytest.raises(InvalidArgumentError, match="`processes` is 2, but `executor`"),
    ):
        TeacherSelector(executor=executor, processes=2)
    with pytest.raises(InvalidArgumentError, match="`processes` must be at least 1, got 0"):
        TeacherSelector(processes=0)


RANKS = """
import sys
from datasets import load_from_disk
from hf_ctkd.selection import TeacherSelector
if __name__ == "__main__":
    cache, rows, *teachers = sys.argv[1:]
    TeacherSelector(cache_dir=cache, processes=2, progress=False).rank(teachers, load_from_disk(rows))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills a process by a signal")
def test_a_run_that_was_killed_goes_on_where_it_was(selector, zoo, rows, tmp_path, passes):
    (tmp_path / "script.py").write_text(RANKS)
    rows.save_to_disk(tmp_path / "rows")
    names = ("first", "second", "headless")
    scores = tmp_path / "cache" / "scores"
    process = subprocess.Popen(
        [
            sys.executable,
            tmp_path / "script.py",
            tmp_path / "cache",
            tmp_path / "rows",
            *(zoo / name for name in names),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while len(list(scores.glob("[0-9a-f]*.json"))) < 2:  # the first is of the input features
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    finished = len(list(scores.glob("[0-9a-f]*.json"))) - 1
    ranking = selector.rank([zoo / name for name in names], rows)
    assert len(ranking.scored) == 3
    assert len({name for name, _ in passes}) <= 3 - finished


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_dask_gives_the_same_ranking_and_replaces_a_worker(selector, candidates, zoo, rows, tmp_path):
    distributed = pytest.importorskip("distributed")
    plain = replace(selector, cache_dir=tmp_path / "plain").rank(candidates, rows)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
        client.get_executor() as executor,
    ):
        client.run(torch.set_num_threads, 1)
        ranking = replace(selector, executor=executor).rank(candidates, rows)
        assert outcome(ranking) == outcome(plain)
        fatal = replace(selector, executor=executor, metric=DiesOnce(str(tmp_path / "died")), metrics=())
        ranking = fatal.rank([zoo / "first", zoo / "second", zoo / "headless"], rows)
        assert (tmp_path / "died").exists()
        assert len(ranking.scored) == 3


@dataclass(frozen=True)
class DiesOnce(TransferabilityMetric):
    """Ends the first process that scores a teacher, in the middle of it."""

    path: str
    name = "dies_once"
    citation = "nobody"
    needs = Needs.FEATURES

    def of_rows(self, outputs, labels):
        if not os.path.exists(self.path):
            open(self.path, "w").close()
            os._exit(3)
        return float(outputs.features.shape[1])
