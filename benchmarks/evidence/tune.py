"""Tune the optimiser of the arms on validation rows, on seeds that no measured run has."""

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.evidence.grid import PLAIN, Run
from benchmarks.evidence.run import Suite, work_through
from benchmarks.evidence.settings import (
    ARMS,
    PLAIN_AT_STEPS,
    Settings,
    Tuned,
    best,
    first_round,
    second_round,
    steps_round,
)

FILE = "tuning.json"
_SHOWN = (
    "task", "method", "teacher", "seed", "learning_rate", "weight_decay", "label_smoothing", "steps",
    "validation_accuracy",
)  # fmt: skip

Trials = Sequence[tuple[Run, Settings]]


def tune(suite: Suite) -> Tuned:
    """Tune both kinds of task and write `tuning.json`; trials that were made before count, unless a loss has changed.

    The plain student goes first; its regularisation is everybody's, and its number of steps is chosen like its rate.
    All others have the same learning rates on the same cells and seeds, so that nobody had more trials than the student
    without a teacher.
    """
    scratch = replace(suite, folder=suite.folder / ".tuning")
    kinds = ("image", "text")
    first = {kind: first_round(kind) for kind in kinds}
    rows = _made(scratch, [trial for kind in kinds for trial in first[kind]], Tuned({}))
    usual = {kind: _best(first[kind], rows) for kind in kinds}
    longer = {kind: steps_round(kind, usual[kind]) for kind in kinds}
    rows |= _made(scratch, [trial for kind in kinds for trial in longer[kind]], Tuned({}))
    chosen = {kind: {PLAIN: _best([*first[kind], *longer[kind]], rows), PLAIN_AT_STEPS: usual[kind]} for kind in kinds}
    second = {(kind, arm): second_round(kind, usual[kind], [arm]) for kind in kinds for arm in ARMS[1:]}
    rows |= _made(scratch, [trial for trials in second.values() for trial in trials], Tuned(chosen))
    for (kind, arm), trials in second.items():
        chosen[kind][arm] = _best(trials, rows)
    tuned = Tuned(chosen)
    tuned.save(suite.folder / FILE, [{name: row[name] for name in _SHOWN} for row in rows.values()])
    return tuned


def _made(suite: Suite, trials: Trials, tuned: Tuned) -> dict[tuple[Run, Settings], dict[str, str]]:
    """The row of each trial that succeeded, made now where it is missing."""
    keys = {trial: suite.key(suite.job(trial[0], tuned, trial[1])) for trial in trials}
    done = suite.runs.done()
    missing = [suite.job(run, tuned, settings) for (run, settings), key in keys.items() if key not in done]
    suite.say(f"tuning: {len(trials)} trials, {len(missing)} missing")
    work_through(suite, missing, None)
    rows = {row["key"]: row for row in suite.runs.merge() if not row["error"]}
    return {trial: rows[key] for trial, key in keys.items() if key in rows}


def _best(trials: Trials, rows: dict[tuple[Run, Settings], dict[str, str]]) -> Settings:
    measured = [(trial[1], float(rows[trial]["validation_accuracy"])) for trial in trials if trial in rows]
    return best(measured) if measured else Settings()
