"""The example runs as its README says, on the built-in data, cut short."""

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from transformers import AutoModelForImageClassification

from hf_ctkd.generic import GenericTeacherConfig, StudentPool
from hf_ctkd.records import DistillationRecord

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "generic_teacher"
WORDS = "--max_steps 3 --student_steps 3 --students 3 --bootstrap_resamples 10 --use_cpu --save_strategy no".split()  # noqa: SIM905


def run(tmp_path, monkeypatch, *words):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HF_CTKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return subprocess.run(
        [sys.executable, EXAMPLE / "run.py", "--output_dir", "teacher", *WORDS, *words],
        cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


def test_it_ends_in_a_table_and_a_pareto_plot(tmp_path, monkeypatch):
    found = run(tmp_path, monkeypatch, "--max_parameters", "8000")
    assert found.returncode == 0, found.stderr[-3000:]
    assert "card: teacher/README.md" in found.stdout and "plot: teacher/pareto.png" in found.stdout
    lines = (tmp_path / "teacher" / "students.md").read_text().splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len(cells) == 3 and all(int(row[1].replace(",", "")) <= 8000 for row in cells)
    assert [float(row[2]) for row in cells] == sorted(float(row[2]) for row in cells)
    assert cells[0][4] == "yes", "nothing is faster than the fastest"
    assert (tmp_path / "teacher" / "pareto.png").read_bytes().startswith(b"\x89PNG")
    pool = DistillationRecord.load(tmp_path / "teacher" / "distillation.json").pool
    assert len(StudentPool.from_dict(pool.description)) == 216
    for folder in (tmp_path / "teacher" / "students").iterdir():
        assert AutoModelForImageClassification.from_pretrained(folder).num_parameters() <= 8000
        assert DistillationRecord.load(folder / "distillation.json").teachers[0].candidate.name == "teacher"


def test_a_budget_that_is_too_small_is_said_before_the_work(tmp_path, monkeypatch):
    found = run(tmp_path, monkeypatch, "--max_parameters", "10")
    assert found.returncode == 1 and "is too few for any of 200 members" in found.stderr
    assert not (tmp_path / "teacher" / "model.safetensors").exists()


def test_a_data_set_without_a_pool_is_refused_at_the_start(tmp_path, monkeypatch):
    found = run(tmp_path, monkeypatch, "--dataset", "no/such-data-set")
    assert found.returncode == 1 and "`--dataset` needs a pool for its images." in found.stderr


def test_its_readme_names_flags_and_fields_that_there_are():
    script, text = (EXAMPLE / "run.py").read_text(), (EXAMPLE / "README.md").read_text()
    own = set(re.findall(r"^    (\w+): ", script, re.MULTILINE))
    known = own | {field.name for field in fields(GenericTeacherConfig)} | {"help", "loss"}
    flags = set(re.findall(r"--(\w+)", text))
    assert flags and flags <= known
    declared = re.search(r"StudentPool\(.*?input_size=224,?\s*\)", text, re.DOTALL).group()
    assert len(eval(declared, {"StudentPool": StudentPool})) == 2 * 3 * 3 * 2 * 2**4
