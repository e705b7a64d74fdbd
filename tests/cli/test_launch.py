"""Commands under `accelerate launch`, as users type it."""

import sys

import pytest

from hf_ctkd.records import DistillationRecord, TeacherRanking

# `--cpu` would mean a single process, so that two on the CPU take this and ACCELERATE_USE_CPU.
LAUNCH = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
LAUNCH += ["--mixed_precision", "no", "--dynamo_backend", "no"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_select_and_distill(run_against_hub, select, shelf, tmp_path, free_port):
    settings = {
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
        "HF_CTKD_CACHE": str(tmp_path / "cache"),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    launch = [*LAUNCH, "--main_process_port", free_port, "-m", "hf_ctkd"]
    rows = ["--dataset", str(shelf / "squares")]
    ranking, student = tmp_path / "ranking.json", tmp_path / "student"
    words = ["--zoo", str(shelf / "zoo"), "--output", str(ranking)]
    found = run_against_hub([*launch, "select", *rows, *words], timeout=280, **settings)
    assert found.returncode == 0, found.stderr[-3000:]
    assert found.stdout.count("Written to") == 1
    assert len(TeacherRanking.load(ranking).scored) == 2
    code, _, err = select("--cache_dir", tmp_path / "other", "--output", tmp_path / "alone.json")
    assert code == 0, err
    shared, single = (TeacherRanking.load(path).scored for path in (ranking, tmp_path / "alone.json"))
    assert [(one.candidate, one.scores) for one in shared] == [(one.candidate, one.scores) for one in single]
    words = ["--student", str(shelf / "student"), "--ranking", str(ranking), "--output_dir", str(student)]
    small = ["--max_steps", "2", "--bootstrap_resamples", "10", "--use_cpu", "--baseline"]
    found = run_against_hub([*launch, "distill", *rows, *words, *small], timeout=280, **settings)
    assert found.returncode == 0, found.stderr[-3000:]
    assert found.stdout.count("Card: ") == 1
    record = DistillationRecord.load(student / "distillation.json")
    assert record.training["processes"] == 2
    assert record.task.eval_rows == 12 and record.baseline.keys() == record.results.keys()
    assert sys.executable not in record.command
