"""How many rows a budget needs to find the best teacher, and whether it is as sure as it says.

    python -m benchmarks.budget [--seeds 3] [--task digits]

For each task and draw of its rows, all teachers of the demo's zoo are scored on all rows, then within budgets of a
share of these rows; one budget is so large that the run ends when the first teacher is settled. Outputs of teachers are
cached before, so that the time is that of the scores. A second table compares the stated errors of the difference of
two scores with how much it differs between draws of rows. Writes its section of `benchmarks/RESULTS.md`.
"""

import argparse
import itertools
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset

from benchmarks.results_file import put
from hf_ctkd.data import TargetRows
from hf_ctkd.demo.tasks import TASKS
from hf_ctkd.demo.train import build_zoo
from hf_ctkd.demo.zoo import all_specs
from hf_ctkd.hub import folder_teachers
from hf_ctkd.metrics import InformationGain
from hf_ctkd.records import TeacherCandidate, TeacherRanking, default_cache
from hf_ctkd.selection import SelectionBudget, TeacherSelector
from hf_ctkd.selection.race import MARGIN
from hf_ctkd.selection.sampling import stratified
from hf_ctkd.selection.standard_errors import HALVES, HalfSample, error_from_halves, error_from_rows
from hf_ctkd.teachers import Teacher, compute_outputs

RESULTS = Path(__file__).parent / "RESULTS.md"
BEGIN, END = "<!-- budget:begin -->", "<!-- budget:end -->"
METRIC = InformationGain.name
SHARES = (None, 0.5, 0.25, 0.1)
"""Of the rows of scoring every teacher on all rows; None to end when the first is settled."""
GOAL = 0.1
"""Largest share of these rows, with the first teacher within the margin of the best."""
DRAWN = 0.8
"""Share of the training rows of a task in a ranking, drawn for each seed."""
DRAWS, WITH_HALVES = 12, 4
"""Draws of rows that errors are compared on, and on how many of them by halves too, which take long."""
ROWS_OF_DRAW = 100
COMPARED = {
    "digits": ("handwriting", "handwriting-pairs", "font-digits", "greek", "shapes"),
    "scipy-docstrings": ("scipy", "sklearn", "torch", "numpy", "which-library"),
}
"""Teachers whose differences are looked at, by task."""


@dataclass(frozen=True)
class Outcome:
    """A ranking within a budget beside the one without.

    Args:
        share: that was allowed; None for no limit.
        rows: share of the rows that was used.
        lost: score on all rows of the best teacher, less that of the first within the budget.
        probability: that the first is within the margin of the best of those that were scored, as the ranking says.
        reached: share of the teachers that were scored at all.
        seconds: of the processor, in units of those without a budget.
    """

    share: float | None
    rows: float
    lost: float
    probability: float
    reached: float
    seconds: float


def outcomes(rows: Dataset, teachers: Sequence[TeacherCandidate], cache: Path) -> list[Outcome]:
    """What each budget finds.

    Args:
        rows: of the task, all labelled.
        teachers: to choose among.
        cache: of the outputs of teachers; scores are computed anew.
    """
    everything, seconds = _ranked(rows, teachers, cache, None)
    on_all = {teacher.candidate.name: teacher.scores[METRIC] for teacher in everything.scored}
    most = len(on_all) * int(everything.dataset["scored_rows"])
    found = []
    for share in SHARES:
        ranking, spent = _ranked(rows, teachers, cache, most if share is None else int(share * most))
        facts = ranking.settings["budget"]
        first = on_all[ranking.scored[0].candidate.name]
        found.append(
            Outcome(
                share,
                facts["spent"]["forwards"] / most,
                max(on_all.values()) - first,
                facts["probability"],
                len(ranking.scored) / len(on_all),
                spent / seconds,
            )
        )
    return found


def _ranked(
    rows: Dataset, teachers: Sequence[TeacherCandidate], cache: Path, forwards: int | None
) -> tuple[TeacherRanking, float]:
    budget = None if forwards is None else SelectionBudget(forwards=forwards)
    selector = TeacherSelector(METRIC, metrics=(), cache_dir=cache, progress=False, budget=budget)
    shutil.rmtree(cache / "scores", ignore_errors=True)
    start = time.process_time()
    return selector.rank(teachers, rows), time.process_time() - start


@dataclass(frozen=True)
class Errors:
    """Standard errors of the difference of two teachers' scores, as roots of mean squares over pairs.

    Args:
        task: the target.
        found: deviation of the difference between draws of rows.
        from_rows: as the values on rows state it.
        from_halves: as halves of the rows state it.
    """

    task: str
    found: float
    from_rows: float
    from_halves: float


def errors(task: str, cache: Path) -> Errors:
    """Stated errors of the scores of some teachers beside those between draws of rows.

    Args:
        task: of the demo.
        cache: of the outputs of teachers.
    """
    modality, pools = TASKS[task]
    rows, metric = TargetRows.of(pools().train), InformationGain()
    outputs = []
    for candidate in folder_teachers(default_cache() / "zoo" / modality):
        if candidate.name in COMPARED[task]:
            teacher = Teacher.load(candidate, modality)
            stored = compute_outputs(teacher, rows, cache_dir=cache / "outputs", layers=True, progress=False)
            outputs.append(stored.select(torch.arange(len(rows))))
    pairs = list(itertools.combinations(range(len(outputs)), 2))
    differences, from_rows, from_halves = [], [], []
    for draw in range(DRAWS):
        drawn = stratified(rows.labels, ROWS_OF_DRAW, draw)
        labels, parts = rows.labels[drawn], [output.select(drawn) for output in outputs]
        values = [metric.row_values(part, labels).numpy() for part in parts]
        differences.append([float((values[a] - values[b]).mean()) for a, b in pairs])
        from_rows += [error_from_rows(values[a] - values[b]) for a, b in pairs]
        if draw < WITH_HALVES:
            halves = [[HalfSample(metric, half).score(part, labels) for half in range(HALVES)] for part in parts]
            from_halves += [error_from_halves(np.subtract(halves[a], halves[b]), labels) for a, b in pairs]
    found = np.sqrt(np.var(differences, axis=0, ddof=1).mean())
    return Errors(task, float(found), _root_mean_square(from_rows), _root_mean_square(from_halves))


def _root_mean_square(values: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def errors_table(measured: Sequence[Errors]) -> list[str]:
    """Lines of the table of errors."""
    return [
        f"Standard errors of the difference of two teachers' scores on {ROWS_OF_DRAW} rows, in points, over the pairs "
        f"of five teachers: as {DRAWS} draws of rows differ, and as it is stated from the values on the rows (which "
        f"rankings use) or from {HALVES} halves of the rows (for metrics from other packages, or that are no mean over "
        "rows).",
        "",
        "| task | between draws | stated from rows | stated from halves |",
        "|---|---|---|---|",
        *(
            f"| {line.task} | {100 * line.found:.1f} | {100 * line.from_rows:.1f} | {100 * line.from_halves:.1f} |"
            for line in measured
        ),
        "",
    ]


def section(found: Sequence[Outcome], rankings: int, measured: Sequence[Errors]) -> str:
    """The section of RESULTS.md.

    Args:
        found: of all tasks and draws.
        rankings: number of tasks and draws.
        measured: errors by task.
    """
    lines = [
        BEGIN,
        "## Rows that a budget needs",
        "",
        f"Written by `python -m benchmarks.budget`: {rankings} rankings (the tasks of the demo, draws "
        f"of {DRAWN:.0%} of their training rows, all labelled) of the zoo of its kind, by the information gain. "
        "*Allowed* and *used* are shares of the rows of scoring every teacher on all rows. *Lost* is what the first "
        "teacher has less than the best, in points of the score on all rows; "
        f"*within {100 * MARGIN:.0f} point* counts how often that is no more, beside the probability of it that the "
        "rankings state. Time is the processor's, of one thread, outputs of teachers "
        "being cached, in units of scoring everything.",
        "",
        f"| allowed | used | teachers scored | lost, mean | lost, most | within {100 * MARGIN:.0f} point | stated | "
        "processor time |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for share in SHARES:
        of_share = [outcome for outcome in found if outcome.share == share]
        lost = np.asarray([outcome.lost for outcome in of_share])
        means = {
            name: float(np.mean([getattr(outcome, name) for outcome in of_share]))
            for name in ("rows", "reached", "probability", "seconds")
        }
        allowed = "until settled" if share is None else f"{share:.0%}"
        lines.append(
            f"| {allowed} | {means['rows']:.1%} | {means['reached']:.0%} | "
            f"{100 * lost.mean():.2f} | {100 * lost.max():.2f} | {(lost <= MARGIN).mean():.0%} | "
            f"{means['probability']:.0%} | {means['seconds']:.2f} |"
        )
    return "\n".join([*lines, "", _verdict(found), "", *errors_table(measured), END])


def _verdict(found: Sequence[Outcome]) -> str:
    within = [outcome.lost <= MARGIN for outcome in found if outcome.share == GOAL]
    reached = float(np.mean(within))
    return (
        f"Goal, the best within {100 * MARGIN:.0f} point at {GOAL:.0%} of the rows in 95 % of the rankings: "
        f"**{'met' if reached >= 0.95 else 'missed'}** ({reached:.0%})."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="draws of the rows of each task")
    parser.add_argument("--task", action="append", default=[], help="this one alone; may be given repeatedly")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found, rankings, cache = list[Outcome](), 0, default_cache() / "budget"
    for task in arguments.task or TASKS:
        modality, pools = TASKS[task]
        zoo = default_cache() / "zoo" / modality
        build_zoo(zoo, all_specs(modality))
        rows, teachers = pools().train, list(folder_teachers(zoo))
        for seed in range(arguments.seeds):
            drawn = rows.shuffle(seed=seed).select(range(int(DRAWN * len(rows))))
            of_ranking = outcomes(drawn, teachers, cache)
            found, rankings = found + of_ranking, rankings + 1
            print(task, seed, *(f"{outcome.rows:.1%} {100 * outcome.lost:.2f}" for outcome in of_ranking), sep=" | ")
    text = section(found, rankings, [errors(task, cache) for task in COMPARED])
    print(text)
    put(text, BEGIN, END, RESULTS)


if __name__ == "__main__":
    main()
