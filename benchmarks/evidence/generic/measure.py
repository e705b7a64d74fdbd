"""Make the runs that are missing, tuning first; every finished run is kept at once."""

import gc
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean

from benchmarks.evidence.generic.design import (
    ALONE,
    GENERIC,
    PLAIN,
    RICH,
    SEEDS,
    Case,
    StudentRun,
    TeacherRun,
    Tuning,
    first_round,
    fourth_round,
    plain_round,
    plan,
    second_round,
    third_round,
    trials,
)
from benchmarks.evidence.generic.train import COLUMNS, teacher_folder, train_student, train_teacher
from benchmarks.evidence.store import Store
from hf_ctkd.errors import CTKDError
from hf_ctkd.records import read_json, write_json

KIND = "evidence-tuning-generic"
TABLE = "generic"


@dataclass(frozen=True)
class Workspace:
    """Where results are kept, and where teachers and other scratch files lie.

    Args:
        results: folder of the tables.
        work: scratch space, which can be thrown away.
        say: takes each line for the user.
        case: whose runs are kept.
    """

    results: Path
    work: Path
    say: Callable[[str], None] = print
    case: Case = RICH

    @property
    def runs(self) -> Store:
        return Store(self.results, f"{TABLE}{self._suffix}", COLUMNS)

    @property
    def tuning(self) -> Path:
        """The file of what was chosen on validation rows."""
        return self.results / f"{TABLE}{self._suffix}_tuning.json"

    @property
    def trials(self) -> Store:
        """Runs of the tuning: no result, and not among them."""
        return Store(self.work / "tuning", f"trials{self._suffix}", COLUMNS)

    @property
    def _suffix(self) -> str:
        return f"_{self.case.slug}" if self.case.slug else ""


def tune(workspace: Workspace) -> Tuning:
    """The settings found on validation rows, now if they were not found before."""
    if workspace.tuning.is_file():
        chosen = read_json(workspace.tuning, KIND)["chosen"]
        return Tuning(**{**chosen, "case": workspace.case})
    rounds = {}
    start = first_round(workspace.case)
    rounds["rates, plain teacher"] = rates = _round(workspace, start, PLAIN, few=True)
    alone = _round(workspace, {f"student {tuning.alone_rate:g}": tuning for tuning in start.values()}, ALONE, few=True)
    rounds["rates, no teacher"] = alone
    chosen = replace(start[_best(rates)], alone_rate=float(_best(alone).split()[1]))
    rounds["regularisation, plain teacher"] = accuracies = _round(workspace, plain_round(chosen), PLAIN)
    chosen = plain_round(chosen)[_best(accuracies)]
    rounds["branches, generic teacher"] = accuracies = _round(workspace, second_round(chosen), GENERIC, few=True)
    chosen = second_round(chosen)[_best(accuracies)]
    rounds["KL weight, generic teacher"] = accuracies = _round(workspace, third_round(chosen), GENERIC)
    chosen = third_round(chosen)[_best(accuracies)]
    for arm in (PLAIN, GENERIC):
        rounds[f"temperature, {arm}"] = accuracies = _round(workspace, fourth_round(chosen, arm), arm)
        chosen = fourth_round(chosen, arm)[_best(accuracies)]
    write_json(workspace.tuning, {"kind": KIND, "chosen": asdict(chosen), "validation_accuracy": rounds})
    return chosen


def _best(accuracies: dict[str, float]) -> str:
    """The candidate with the highest mean; the first of equals."""
    return max(accuracies, key=lambda name: accuracies[name])


def _round(workspace: Workspace, candidates: dict[str, Tuning], arm: str, *, few: bool = False) -> dict[str, float]:
    """Mean validation accuracy of each candidate."""
    accuracies = {}
    for name, tuning in candidates.items():
        runs = trials(tuning, arm, few=few)
        _make(workspace, workspace.trials, runs, until=None)
        rows = {row["key"]: row for row in workspace.trials.rows()}
        accuracies[name] = round(mean(float(rows[run.key]["validation_accuracy"]) for run in runs), 4)
        workspace.say(f"{arm}, {name}: {accuracies[name]:.4f}")
    return accuracies


def measure(workspace: Workspace, *, seconds: float | None, seeds: Sequence[int] = SEEDS) -> None:
    """Make the missing runs of the plan, until the time is up, and merge them into the table."""
    until = None if seconds is None else time.monotonic() + seconds
    gc.freeze()  # every trainer collects garbage: what was imported need not be looked through each time
    tuning = tune(workspace)
    _make(workspace, workspace.runs, list(plan(tuning, tuple(seeds))), until=until)
    workspace.say(f"{len(workspace.runs.merge())} runs in {workspace.runs.table}")


def _make(workspace: Workspace, store: Store, runs: Sequence[StudentRun], *, until: float | None) -> None:
    done, made = store.done(), 0
    for run in runs:
        if run.key in done:
            continue
        if until is not None and time.monotonic() > until:
            workspace.say("out of time: run the same command again for the rest")
            return
        try:
            if run.teacher is not None:
                _ready(workspace, store, run.teacher, done)
            store.add(run.key, [train_student(run, workspace.work)])
        except (CTKDError, RuntimeError, ValueError, OSError) as error:  # a failure is a result too
            _note(store, run, error)
            workspace.say(f"failed: {json.dumps(asdict(run))[:160]}: {error}")
        made += 1
        if made % 20 == 0:
            workspace.say(f"{made} students")


def _ready(workspace: Workspace, store: Store, teacher: TeacherRun, done: set[str]) -> None:
    """Train the teacher unless its folder is at hand and its row is in the table."""
    if not teacher_folder(teacher, workspace.work).is_dir() or teacher.key not in done:
        store.add(teacher.key, [train_teacher(teacher, workspace.work)])
        done.add(teacher.key)
        workspace.say(f"{teacher.arm}, seed {teacher.seed}")


def _note(store: Store, run: StudentRun, error: Exception) -> None:
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    values = {"key": run.key, "kind": "student", "arm": run.arm, "student": run.member.name, "seed": run.seed}
    store.add(run.key, [{**dict.fromkeys(COLUMNS, ""), **values, "error": reason}])
