"""`python -m benchmarks.evidence generic`: tune, run what is missing, measure speed, write the section."""

import time
from dataclasses import replace
from pathlib import Path

from benchmarks.evidence.generic.analysis import load
from benchmarks.evidence.generic.design import CASES, Tuning, plan
from benchmarks.evidence.generic.figures import draw
from benchmarks.evidence.generic.measure import KIND, Workspace, measure, tune
from benchmarks.evidence.generic.report import BEGIN, END, Part, section
from benchmarks.evidence.generic.speed import speed
from benchmarks.results_file import replaced
from hf_ctkd.records import read_json, write_text

SPEED = "generic_speed.json"


def run(workspace: Workspace, target: Path, *, seconds: float | None) -> None:
    """Make what is missing within the time, and write the section from what there is.

    Args:
        workspace: of results and scratch files.
        target: `RESULTS.md`; figures go beside it.
        seconds: time for the runs after tuning; None for all.
    """
    until = None if seconds is None else time.monotonic() + seconds
    parts, figures = [], target.parent / "figures"
    measured = None
    for case in CASES:
        case_workspace = replace(workspace, case=case)
        if until is not None and not case_workspace.tuning.is_file() and time.monotonic() >= until:
            continue  # its tuning takes longer than there is time
        measure(case_workspace, seconds=None if until is None else until - time.monotonic())
        tuning = tune(case_workspace)
        measured = measured or speed(workspace.results / SPEED, tuning, workspace.work)
        rows = planned_rows(case_workspace, tuning)
        frame = load(rows)
        if frame.empty:
            continue
        parts.append(Part(case, frame, read_json(case_workspace.tuning, KIND), [row for row in rows if row["error"]]))
        draw(frame, measured["latency_ms"], figures, case.slug)
    if measured is None:
        workspace.say("nothing was made: give it more time")
        return
    old = (
        target.read_text(encoding="utf-8") if target.exists() else "# Results, written by the scripts in this folder\n"
    )
    if BEGIN not in old:
        old = f"{old.rstrip()}\n\n{BEGIN}\n{END}\n"
    write_text(target, replaced(old, BEGIN, END, section(parts, measured).rstrip("\n")))


def planned_rows(workspace: Workspace, tuning: Tuning) -> list[dict[str, str]]:
    """The finished runs of the plan; none of an older tuning or format."""
    students = list(plan(tuning))
    teachers = [run.teacher for run in students if run.teacher is not None]
    arms = {run.key: run.arm for run in [*teachers, *students]}
    # A run may stand under the name of another arm of the same settings there.
    return [{**row, "arm": arms[row["key"]]} for row in workspace.runs.rows() if row["key"] in arms]
