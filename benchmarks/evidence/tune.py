"""Tune the optimiser of the arms on validation rows, on seeds that no measured run has."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.evidence.grid import PLAIN, Run
from benchmarks.evidence.run import Suite, work_through
from benchmarks.evidence.settings import (
    ARMS,
    FEATURE_LOSSES,
    KIND,
    PLAIN_AT_STEPS,
    Settings,
    Tuned,
    best,
    first_round,
    second_round,
    steps_round,
    weights_round,
)
from hf_ctkd.records import read_json

FILE = "tuning.json"
_SHOWN = (
    "task", "method", "teacher", "seed", "learning_rate", "weight_decay", "label_smoothing", "loss_weight", "steps",
    "validation_accuracy",
)  # fmt: skip

Trials = Sequence[tuple[Run, Settings]]
Outcomes = dict[tuple[Run, Settings], dict[str, str]]


def tune(suite: Suite) -> Tuned:
    """Tune what is not tuned for both kinds of task and write `tuning.json`.

    The plain student goes first; its regularisation is everybody's, and its number of steps is chosen like its rate.
    All others have the same learning rates on the same cells and seeds, and losses of features some weights on top, so
    that nobody had more trials than the student without a teacher. An arm that was tuned keeps its settings: delete its
    entries in the file to tune it again, as after a change of its loss.
    """
    scratch = replace(suite, folder=suite.folder / ".tuning")
    earlier = Tuned.load(suite.folder / FILE).chosen
    rows: Outcomes = {}
    chosen = {kind: dict(earlier.get(kind, {})) for kind in ("image", "text")}
    for kind, settings in chosen.items():
        if PLAIN not in settings or PLAIN_AT_STEPS not in settings:
            settings |= _plain(scratch, kind, rows)
    missing = [(kind, arm) for kind, settings in chosen.items() for arm in ARMS[1:] if arm not in settings]
    _choose(
        scratch,
        {(kind, arm): second_round(kind, chosen[kind][PLAIN_AT_STEPS], [arm]) for kind, arm in missing},
        chosen,
        rows,
    )
    weighted = [(kind, arm) for kind, arm in missing if arm in FEATURE_LOSSES]
    _choose(scratch, {(kind, arm): weights_round(kind, arm, chosen[kind][arm]) for kind, arm in weighted}, chosen, rows)
    tuned = Tuned(chosen)
    trials = [{name: row[name] for name in _SHOWN} for row in rows.values()]
    tuned.save(suite.folder / FILE, [*_trials(suite.folder / FILE), *trials])
    return tuned


def _plain(scratch: Suite, kind: str, rows: Outcomes) -> dict[str, Settings]:
    """Settings of the student without a teacher, with any number of steps and with everybody's."""
    first = first_round(kind)
    rows |= _made(scratch, first, Tuned({}))
    usual = _best(first, rows)
    longer = steps_round(kind, usual)
    rows |= _made(scratch, longer, Tuned({}))
    return {PLAIN: _best([*first, *longer], rows), PLAIN_AT_STEPS: usual}


def _choose(
    scratch: Suite, trials: dict[tuple[str, str], Trials], chosen: dict[str, dict[str, Settings]], rows: Outcomes
) -> None:
    """Make the trials of arms, and choose for each among these and its earlier ones."""
    rows |= _made(scratch, [trial for mine in trials.values() for trial in mine], Tuned(chosen))
    for kind, arm in trials:
        chosen[kind][arm] = _best([trial for trial in rows if trial[0].method == arm and _kind(trial) == kind], rows)


def _kind(trial: tuple[Run, Settings]) -> str:
    return trial[0].cell.modality


def _trials(path: Path) -> list[dict[str, object]]:
    """What an earlier call wrote of its trials."""
    return list(read_json(path, KIND)["trials"]) if path.is_file() else []


def _made(suite: Suite, trials: Trials, tuned: Tuned) -> Outcomes:
    """The row of each trial that succeeded, made now where it is missing."""
    keys = {trial: suite.key(suite.job(trial[0], tuned, trial[1])) for trial in trials}
    done = suite.runs.done()
    missing = [suite.job(run, tuned, settings) for (run, settings), key in keys.items() if key not in done]
    suite.say(f"tuning: {len(trials)} trials, {len(missing)} missing")
    work_through(suite, missing, None)
    rows = {row["key"]: row for row in suite.runs.merge() if not row["error"]}
    return {trial: rows[key] for trial, key in keys.items() if key in rows}


def _best(trials: Trials, rows: Outcomes) -> Settings:
    measured = [(trial[1], float(rows[trial]["validation_accuracy"])) for trial in trials if trial in rows]
    return best(measured) if measured else Settings()
