"""`python -m benchmarks.evidence generic`: tune, run what is missing, measure speed, write the section."""

from pathlib import Path

from benchmarks.evidence.generic.analysis import load
from benchmarks.evidence.generic.design import plan
from benchmarks.evidence.generic.figures import draw
from benchmarks.evidence.generic.measure import KIND, TUNING, Place, measure, tune
from benchmarks.evidence.generic.report import BEGIN, END, section
from benchmarks.evidence.generic.speed import speed
from benchmarks.evidence.readme import replaced
from hf_ctkd.records import read_json, write_text

SPEED = "generic_speed.json"


def run(place: Place, target: Path, *, seconds: float | None) -> None:
    """Make what is missing within the time, and write the section from what there is.

    Args:
        place: of results and scratch files.
        target: `RESULTS.md`; figures go beside it.
        seconds: time for the runs after tuning; None for all.
    """
    measure(place, seconds=seconds)
    tuning = tune(place)
    measured = speed(place.results / SPEED, tuning, place.work)
    students = list(plan(tuning))
    teachers = [run.teacher for run in students if run.teacher is not None]
    arms = {run.key: run.arm for run in [*teachers, *students]}
    # None of an older tuning or format; and a run may stand under the name of another arm of the same settings there.
    rows = [{**row, "arm": arms[row["key"]]} for row in place.runs.rows() if row["key"] in arms]
    frame = load(rows)
    failed = [row for row in rows if row["error"]]
    text = section(frame, measured, read_json(place.results / TUNING, KIND), failed)
    old = (
        target.read_text(encoding="utf-8") if target.exists() else "# Results, written by the scripts in this folder\n"
    )
    if BEGIN not in old:
        old = f"{old.rstrip()}\n\n{BEGIN}\n{END}\n"
    write_text(target, replaced(old, BEGIN, END, text.rstrip("\n")))
    draw(frame, measured["latency_ms"], target.parent / "figures")
