"""From tables of runs and scores to differences with intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas
from scipy.stats import weightedtau

from benchmarks.evidence.grid import CONTROLS, DEFAULT, PLAIN, is_cross_task
from benchmarks.evidence.scores import METRICS

RESAMPLES = 2000
OTHER_SEEDS = "outcome of the other seeds"
NUMBERS = ("accuracy", "macro_f1", "validation_accuracy", "seconds")


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval, and over how many cells and pairs of cell and seed.

    Args:
        value: mean over cells of the mean over seeds.
        low: lower end.
        high: upper end.
        cells: target tasks with their number of labels.
        pairs: cells x seeds.
    """

    value: float
    low: float
    high: float
    cells: int
    pairs: int

    def __str__(self) -> str:
        return f"{self.value:+.1f} ({self.low:+.1f} to {self.high:+.1f})"


NOTHING = Estimate(float("nan"), float("nan"), float("nan"), 0, 0)


def load_runs(rows: Sequence[dict[str, str]]) -> pandas.DataFrame:
    """Finished runs, accuracies in per cent, with `cell`, `cross` and the `gain` over the plain student beside them.

    A gain is paired: same cell, same seed, hence the same labelled rows and initial weights; that of a student at
    three times its steps is over the plain one at three times its own. Rows without `times` are of an older format and
    left out.
    """
    frame = pandas.DataFrame([row for row in rows if row["times"] and not row["error"]])
    if frame.empty:
        return frame
    for name in NUMBERS:
        frame[name] = frame[name].astype(float) * (1 if name == "seconds" else 100)
    frame = frame.astype({"seed": int, "times": int})
    frame["cell"] = frame["task"] + " @ " + frame["labels"].astype(str)
    frame["cross"] = [
        is_cross_task(task, teacher) for task, teacher in zip(frame["task"], frame["teacher"], strict=True)
    ]
    pair = ["cell", "seed", "times"]
    plain = frame[frame["method"] == PLAIN].set_index(pair)["accuracy"]
    frame = frame.join(plain.rename("plain"), on=pair)
    frame["gain"] = frame["accuracy"] - frame["plain"]
    return frame.dropna(subset=["gain"])


def split(frame: pandas.DataFrame) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Runs at the tuned number of steps, of which all tables and figures speak, and those at a multiple of it."""
    if frame.empty:
        return frame, frame
    usual = frame["times"] == 1
    return frame[usual], frame[~usual]


def estimate(frame: pandas.DataFrame, column: str = "gain") -> Estimate:
    """Mean of a column with a bootstrap interval that resamples cells and, within each, seeds.

    Teachers are averaged within each pair of cell and seed first, so that a pair counts once. A single cell leaves
    seeds alone to resample.
    """
    if frame.empty:
        return NOTHING
    pairs = frame.groupby(["cell", "seed"])[column].mean()
    cells = [group.to_numpy() for _, group in pairs.groupby("cell")]
    generator = np.random.default_rng(0)
    drawn = np.empty((RESAMPLES, len(cells)))
    for cell, values in enumerate(cells):
        drawn[:, cell] = values[generator.integers(len(values), size=(RESAMPLES, len(values)))].mean(axis=1)
    chosen = generator.integers(len(cells), size=(RESAMPLES, len(cells)))
    means = np.take_along_axis(drawn, chosen, axis=1).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(
        float(np.mean([values.mean() for values in cells])), float(low), float(high), len(cells), len(pairs)
    )


def against(frame: pandas.DataFrame, method: str, other: str) -> Estimate:
    """One method minus another, over the cells, seeds and teachers that both have."""
    keys = ["cell", "seed", "teacher"] if {method, other}.isdisjoint(CONTROLS) else ["cell", "seed"]
    first, second = (frame[frame["method"] == name].set_index(keys)["accuracy"] for name in (method, other))
    joined = (
        first.rename("one").to_frame().join(second.groupby(level=keys).mean().rename("two"), how="inner").reset_index()
    )
    joined["difference"] = joined["one"] - joined["two"]
    return estimate(joined, "difference")


def best_controls(frame: pandas.DataFrame) -> dict[str, str]:
    """The teacher-free control of each cell that does best on validation rows, plain among them.

    Of those that have run on the most seeds: the validation rows of one seed may be easier than those of another.
    """
    controls = frame[frame["method"].isin(CONTROLS)]
    seeds = controls.groupby(["cell", "method"])["seed"].nunique()
    most = seeds.groupby("cell").transform("max")
    means = controls.groupby(["cell", "method"])["validation_accuracy"].mean()[seeds == most].reset_index()
    best = means.loc[means.groupby("cell")["validation_accuracy"].idxmax()]
    return dict(zip(best["cell"], best["method"], strict=True))


def over_best_control(frame: pandas.DataFrame, method: str) -> Estimate:
    """A method minus the best control of each cell, paired by seed."""
    best = best_controls(frame)
    control = frame[frame["method"] == frame["cell"].map(best)].set_index(["cell", "seed"])["accuracy"]
    mine = (
        frame[frame["method"] == method].join(control.rename("control"), on=["cell", "seed"]).dropna(subset=["control"])
    )
    return estimate(mine.assign(difference=mine["accuracy"] - mine["control"]), "difference")


def per_teacher(frame: pandas.DataFrame, method: str = DEFAULT) -> dict[tuple[str, str], Estimate]:
    """Mean change by each teacher of each modality over all its cells."""
    mine = frame[frame["method"] == method]
    return {names: estimate(group) for names, group in mine.groupby(["modality", "teacher"])}


def worst_teacher(frame: pandas.DataFrame, method: str) -> tuple[str, Estimate]:
    """The teacher with the lowest mean change."""
    estimates = per_teacher(frame, method)
    if not estimates:
        return "", NOTHING
    names = min(estimates, key=lambda teacher: estimates[teacher].value)
    return " ".join(reversed(names)), estimates[names]


def load_scores(rows: Sequence[dict[str, str]]) -> pandas.DataFrame:
    """Scores of teachers, with `cell`."""
    frame = pandas.DataFrame(rows)
    if frame.empty:
        return frame
    frame["cell"] = frame["task"] + " @ " + frame["labels"].astype(str)
    return frame.assign(seed=frame["seed"].astype(int), value=frame["value"].astype(float))


def chosen_by(scores: pandas.DataFrame, runs: pandas.DataFrame, metric: str = METRICS[0]) -> pandas.DataFrame:
    """The default's run with the teacher that a score puts first, for each cell and seed."""
    mine = _with_outcomes(scores, runs, metric)
    return mine.loc[mine.groupby(["cell", "seed"])["value"].idxmax()] if len(mine) else mine


@dataclass(frozen=True)
class Agreement:
    """How well a score predicts the default's outcomes.

    Args:
        tau: weighted Kendall tau of single runs, times 100.
        tau_of_means: the same of the means over seeds of a cell, of outcomes and of scores.
        regret: points that the first teacher loses to the best of all.
        regret_of_three: points that the best of the first three loses to it.
    """

    tau: Estimate
    tau_of_means: Estimate
    regret: Estimate
    regret_of_three: Estimate


def agreement(scores: pandas.DataFrame, runs: pandas.DataFrame, metric: str) -> Agreement:
    """How well a score predicts the default's outcomes.

    Ties in the weighting are broken by outcome (`scipy.stats.weightedtau(outcome, score, rank=None)`), so the best
    teachers weigh most.

    Args:
        scores: from `load_scores`.
        runs: from `load_runs`.
        metric: name of the score.
    """
    joined = _with_outcomes(scores, runs, metric)
    means = joined
    if len(joined):
        means = joined.groupby(["cell", "teacher"], as_index=False)[["accuracy", "value"]].mean().assign(seed=0)
    measures = {
        "tau": (joined, _tau),
        "tau_of_means": (means, _tau),
        "regret": (joined, partial(_regret, first=1)),
        "regret_of_three": (joined, partial(_regret, first=3)),
    }
    return Agreement(**{name: estimate(_by_pair(frame, measure)) for name, (frame, measure) in measures.items()})


def other_seeds(runs: pandas.DataFrame) -> pandas.DataFrame:
    """The default's accuracy on the other seeds of a cell as a score of each teacher: what a single outcome can tell.

    It has trained every student more than once, so that a score which agrees with an outcome as well as this one knows
    what there is to know: the rest are differences between draws of rows and weights.

    Args:
        runs: from `load_runs`.
    """
    default = runs[runs["method"] == DEFAULT]
    outcomes = default.groupby(["cell", "teacher"])["accuracy"]
    others = outcomes.transform("count") - 1
    value = (outcomes.transform("sum") - default["accuracy"]) / others
    return default.assign(metric=OTHER_SEEDS, value=value)[others > 0]


def _tau(pair: pandas.DataFrame) -> float:
    return 100 * weightedtau(pair["accuracy"], pair["value"], rank=None).statistic


def _regret(pair: pandas.DataFrame, first: int) -> float:
    return pair["accuracy"].max() - pair.nlargest(first, "value")["accuracy"].max()


def _with_outcomes(scores: pandas.DataFrame, runs: pandas.DataFrame, metric: str) -> pandas.DataFrame:
    if scores.empty or runs.empty:
        return pandas.DataFrame()
    metric_scores = scores[scores["metric"] == metric][["cell", "seed", "teacher", "value"]]
    return runs[runs["method"] == DEFAULT].merge(metric_scores, on=["cell", "seed", "teacher"])


def _by_pair(frame: pandas.DataFrame, measure: Callable[[pandas.DataFrame], float]) -> pandas.DataFrame:
    if frame.empty:
        return frame
    rows = [
        {"cell": cell, "seed": seed, "gain": measure(group)}
        for (cell, seed), group in frame.groupby(["cell", "seed"])
        if len(group) > 2
    ]
    return pandas.DataFrame(rows).dropna() if rows else pandas.DataFrame()
