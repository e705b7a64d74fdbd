from dataclasses import asdict

import pytest
from tables import SPEED, row

from benchmarks.evidence.__main__ import arguments
from benchmarks.evidence.generic import command
from benchmarks.evidence.generic.design import PLAIN, STUDENTS, Tuning, plan
from benchmarks.evidence.generic.measure import KIND, Workspace
from benchmarks.evidence.generic.speed import KIND as SPEED_KIND
from hf_ctkd.records import write_json

pytestmark = pytest.mark.usefixtures("few_resamples")

TUNED = Tuning(branches={"kl_direction": "from_branch"})


@pytest.fixture
def workspace(tmp_path):
    """Everything is there already, and a run that is no part of the plan."""
    workspace = Workspace(tmp_path / "results", tmp_path / "work", say=lambda _: None)
    write_json(workspace.tuning, {"kind": KIND, "chosen": asdict(TUNED)})
    write_json(workspace.results / command.SPEED, {"kind": SPEED_KIND, **SPEED})
    teachers = {}
    for run in plan(TUNED):
        workspace.runs.add(run.key, [row("student", run.arm, run.seed, 0.9, student=run.member.name, key=run.key)])
        if run.teacher is not None:
            teachers[run.teacher.key] = run.teacher
    for key, run in teachers.items():
        workspace.runs.add(key, [row("teacher", run.arm, run.seed, 0.98, key=key)])
    stale = row("student", PLAIN, 0, 0.1, student=STUDENTS[0].name, key="of an older tuning")
    workspace.runs.add(stale["key"], [stale])
    return workspace


def test_it_writes_its_section_beside_others_and_again_the_same(workspace, tmp_path):
    target = tmp_path / "RESULTS.md"
    target.write_text("# Results\n\n<!-- ot:begin -->\nmine\n<!-- ot:end -->\n")
    command.run(workspace, target, seconds=0.0)
    text = target.read_text()
    assert "<!-- ot:begin -->\nmine\n<!-- ot:end -->" in text and text.count("<!-- generic:begin -->") == 1
    assert "## One teacher for a pool of students" in text and "20 x 3" in text
    assert (tmp_path / "figures" / "generic_gains.png").is_file()
    assert "| plain teacher | 20 x 3 | 90.0 |" in text, "the stale run is not counted"
    command.run(workspace, target, seconds=0.0)
    assert target.read_text() == text


def test_it_is_a_command_of_the_suite():
    assert arguments(["generic", "--minutes", "5"]).command == "generic"
