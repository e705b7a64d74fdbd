"""Tune the optimiser of every arm on validation rows, on seeds that no measured run has."""

from collections.abc import Sequence
from dataclasses import asdict, replace

from benchmarks.evidence.grid import PLAIN, Run
from benchmarks.evidence.run import Suite, work_through
from benchmarks.evidence.settings import ARMS, Settings, Tuned, best, first_round, second_round

FILE = "tuning.json"


def tune(suite: Suite) -> Tuned:
    """Tune both kinds of task and write `tuning.json`; trials that were made before are taken from there.

    The plain student goes first, on two seeds; its regularisation is everybody's. All others have the same learning
    rates on one seed, so that nobody had more trials than the student without a teacher.
    """
    trials = replace(suite, folder=suite.folder / ".tuning")
    kinds = ("image", "text")
    _make(trials, [one for kind in kinds for one in first_round(kind)], Tuned({}))
    plain = {kind: _best_of(trials, first_round(kind)) for kind in kinds}
    tuned = Tuned({kind: {PLAIN: plain[kind]} for kind in kinds})
    _make(trials, [one for kind in kinds for one in second_round(kind, plain[kind])], tuned)
    chosen = {
        kind: {PLAIN: plain[kind]}
        | {arm: _best_of(trials, second_round(kind, plain[kind], [arm])) for arm in ARMS if arm != PLAIN}
        for kind in kinds
    }
    tuned = Tuned(chosen)
    shown = ("task", "method", "teacher", "seed", "learning_rate", "weight_decay", "label_smoothing")
    tuned.save(
        suite.folder / FILE,
        [{name: row[name] for name in (*shown, "validation_accuracy")} for row in trials.runs.merge()],
    )
    return tuned


def _make(suite: Suite, trials: Sequence[tuple[Run, Settings]], tuned: Tuned) -> None:
    done = suite.runs.done()
    jobs = [suite.job(run, tuned, settings) for run, settings in trials]
    missing = [job for job in jobs if suite.key(job) not in done]
    suite.say(f"tuning: {len(jobs)} trials, {len(missing)} missing")
    work_through(suite, missing, None)


def _best_of(suite: Suite, trials: Sequence[tuple[Run, Settings]]) -> Settings:
    measured = {_facts(row): float(row["validation_accuracy"]) for row in suite.runs.rows() if not row["error"]}
    found = [(settings, measured[facts]) for run, settings in trials if (facts := _wanted(run, settings)) in measured]
    return best(found) if found else Settings()


def _facts(row: dict[str, str]) -> tuple:
    settings = Settings(*(float(row[name]) for name in asdict(Settings())))
    return row["task"], row["method"], row["teacher"], int(row["seed"]), settings


def _wanted(run: Run, settings: Settings) -> tuple:
    return run.cell.task, run.method, run.teacher, run.seed, settings
