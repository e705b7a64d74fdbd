"""The example of a generic teacher runs as its README says, on built-in data and for a few steps."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from transformers import AutoModelForImageClassification

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.generic import GenericTeacherConfig, StudentPool
from hf_ctkd.records import DistillationRecord

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "generic_teacher"
WORDS = "--max_steps 3 --student_steps 3 --students 3 --bootstrap_resamples 10 --use_cpu --save_strategy no".split()  # noqa: SIM905


@pytest.fixture
def run(run_example):
    return lambda *flags: run_example("generic_teacher/run.py", "--output_dir", "teacher", *WORDS, *flags)


def test_it_ends_in_a_table_and_a_pareto_plot(run, tmp_path):
    printed = run("--max_parameters", "8000")
    assert "card: teacher/README.md" in printed and "plot: teacher/pareto.png" in printed
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


def test_a_budget_that_is_too_small_is_refused_before_the_training(run, tmp_path):
    with pytest.raises(InvalidArgumentError, match="is too few for any of 200 members"):
        run("--max_parameters", "10")
    assert not (tmp_path / "teacher" / "model.safetensors").exists()


def test_a_data_set_without_a_pool_is_refused(run):
    with pytest.raises(InvalidArgumentError, match="`--dataset` needs a pool for its images."):
        run("--dataset", "no/such-data-set")


def test_its_readme_names_existing_flags_and_fields():
    script, text = (EXAMPLE / "run.py").read_text(), (EXAMPLE / "README.md").read_text()
    script_flags = set(re.findall(r"^    (\w+): ", script, re.MULTILINE))
    existing = script_flags | {field.name for field in fields(GenericTeacherConfig)} | {"help", "loss"}
    flags = set(re.findall(r"--(\w+)", text))
    assert flags and flags <= existing
    declared = re.search(r"StudentPool\(.*?input_size=224,?\s*\)", text, re.DOTALL).group()
    assert len(eval(declared, {"StudentPool": StudentPool})) == 2 * 3 * 3 * 2 * 2**4
