"""What the papers claim, what came out here, and whether it holds: one table, computed from the tables of runs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas

from benchmarks.evidence import committee, committee_report, pretrained_report
from benchmarks.evidence.analysis import Estimate, against, agreement, estimate, load_runs, load_scores, split
from benchmarks.evidence.committee import COMMITTEE, SINGLE
from benchmarks.evidence.generic import analysis as generic
from benchmarks.evidence.generic.command import planned_rows
from benchmarks.evidence.generic.design import EXACT_TARGET, GENERIC, HEADROOM, STARTED
from benchmarks.evidence.generic.measure import Workspace, tune
from benchmarks.evidence.grid import PLAIN
from benchmarks.evidence.pretrained_cell import AFT, B_TUNING, GAP, rows_as_tuned
from benchmarks.evidence.report import table
from benchmarks.evidence.store import RUNS, SCORES, Store
from hf_ctkd.losses.distances import L2

BEGIN, END = "<!-- claims:begin -->", "<!-- claims:end -->"
NOT_RUN = "not run yet"
POOL_SHARE = 0.8
"""Of the pool that a generic teacher is to help for its claim to hold."""
FEW_TEACHERS = 3.0
"""How many specialised teachers a generic one may cost."""


@dataclass(frozen=True)
class Tables:
    """All that was measured.

    Args:
        runs: of the suite at the tuned number of steps.
        scores: of its teachers.
        committees: runs of committees.
        pool: runs of generic teachers and their students.
        pretrained: runs of pretrained students.
        dense: runs of students for segmentation and depth, see `load_dense`.
        dense_trials: the same on validation scenes, of a distance with several weights.
    """

    runs: pandas.DataFrame
    scores: pandas.DataFrame
    committees: pandas.DataFrame
    pool: pandas.DataFrame
    pretrained: pandas.DataFrame
    dense: pandas.DataFrame
    dense_trials: pandas.DataFrame

    @classmethod
    def of(cls, results: Path) -> "Tables":
        """Read from the folder of results."""
        runs, _ = split(load_runs(Store(results, "runs", RUNS).rows()))
        return cls(
            runs,
            load_scores(Store(results, "scores", SCORES).rows()),
            committee_report.load(Store(results, "committee", committee.COLUMNS).rows()),
            _pool(Workspace(results, work=results, case=HEADROOM)),
            pretrained_report.load(rows_as_tuned(results)),
            load_dense(results / DENSE_FILE),
            load_dense(results / DENSE_TRIALS_FILE),
        )


def load_dense(path: Path) -> pandas.DataFrame:
    """Runs of `examples/dense_prediction/benchmark.py`: how much `better` than plain each is, in % of its metric.

    Paired by task, number of scenes and seed; a depth is better the smaller its error is.

    Args:
        path: of its table; nothing where it is missing.
    """
    if not path.is_file():
        return pandas.DataFrame()
    runs = pandas.read_csv(path, keep_default_na=False)
    runs["cell"] = runs["task"] + " @ " + runs["scenes"].astype(str)
    plain = runs[runs["teacher"] == PLAIN].set_index(["cell", "seed"])["value"]
    runs = runs.join(plain.rename("plain"), on=["cell", "seed"]).dropna(subset=["plain"])
    sign = runs["task"].map({"mask": 1, "depth": -1})
    return runs.assign(better=100 * sign * (runs["value"] - runs["plain"]) / runs["plain"])


def _pool(workspace: Workspace) -> pandas.DataFrame:
    """The students of the plan; none without a tuning, of which the plan is made."""
    return generic.load(planned_rows(workspace, tune(workspace)) if workspace.tuning.is_file() else [])


@dataclass(frozen=True)
class Outcome:
    """What was measured for a claim.

    Args:
        figure: for the table.
        holds: None where it was not measured, or where the interval leaves it open.
    """

    figure: str = NOT_RUN
    holds: bool | None = None

    @property
    def verdict(self) -> str:
        if self.holds is None:
            return "-" if self.figure == NOT_RUN else "not settled"
        return "holds" if self.holds else "**does not hold**"


@dataclass(frozen=True)
class Claim:
    """One claim of a paper.

    Args:
        paper: its short name.
        text: the claim, in our words.
        setting: in which it was tried here.
        measure: gives what came out.
    """

    paper: str
    text: str
    setting: str
    measure: Callable[[Tables], Outcome]


def positive(change: Estimate, unit: str = "points") -> Outcome:
    """A gain holds if its interval is above zero, and does not if it is below."""
    if not change.pairs:
        return Outcome()
    return Outcome(f"{change} {unit}", change.low > 0 if change.low > 0 or change.high < 0 else None)


def pretrained_beats(arm: str, other: str, tables: Tables) -> Outcome:
    """One way to train a pretrained student is better than another, where the teacher knows more and labels are few."""
    return positive(pretrained_report.gain(tables.pretrained, GAP, arm, other, GAP.labels[0]))


def score_orders(tables: Tables) -> Outcome:
    """The transport score orders teachers better than chance does."""
    tau = agreement(tables.scores, tables.runs, "transport_empirical").tau
    chance = agreement(tables.scores, tables.runs, "random").tau
    if not tau.pairs:
        return Outcome()
    taus = [f"{value / 100:.2f}" for value in (tau.value, tau.low, tau.high, chance.value)]
    text = f"weighted tau {taus[0]} ({taus[1]} to {taus[2]}); a random score {taus[3]}"
    bound = max(chance.value, 0.0)
    return Outcome(text, tau.low > bound if tau.low > bound or tau.high < bound else None)


def over_plain(method: str, tables: Tables, *, random: bool = False) -> Outcome:
    """Gain over plain training with teachers of other tasks, or with random weights; of a teacher-free loss its own."""
    if tables.runs.empty:
        return Outcome()
    mine = tables.runs[tables.runs["method"] == method]
    teachers = mine["teacher"].astype(str)
    mine = mine[teachers.str.startswith("random") if random else mine["cross"] | (teachers == "")]
    return positive(estimate(mine))


def over_method(method: str, other: str, tables: Tables) -> Outcome:
    """One method over another on the same teachers."""
    if tables.runs.empty:
        return Outcome()
    runs = tables.runs[tables.runs["cross"]]
    return positive(against(runs, method, other)) if {method, other} <= set(runs["method"]) else Outcome()


def pool_is_helped(arm: str, tables: Tables) -> Outcome:
    """Most students of the pool are better under the generic teacher, which teaches them as `arm` says."""
    gain = None if tables.pool.empty else generic.difference(tables.pool, arm)
    if gain is None:
        return Outcome()
    return Outcome(f"{gain.improved:.0%} of {gain.students} students, {gain} points", gain.improved >= POOL_SHARE)


def pool_is_cheap(tables: Tables) -> Outcome:
    """A generic teacher costs about as much as a few specialised ones."""
    cost = None if tables.pool.empty else generic.teachers(tables.pool)
    if cost is None or not {GENERIC, EXACT_TARGET} <= set(cost.index):
        return Outcome()
    ratio = cost.loc[GENERIC, "processor"] / cost.loc[EXACT_TARGET, "processor"]
    return Outcome(f"{ratio:.2f} specialised teachers", bool(ratio <= FEW_TEACHERS))


def committee_recovers(tables: Tables) -> Outcome:
    """The committee closes the gap to the same-task teacher as far as the paper says."""
    if tables.committees.empty:
        return Outcome()
    closed = committee_report.recovery(tables.committees, COMMITTEE)
    text = f"{closed.value:.0f} % ({closed.low:.0f} to {closed.high:.0f})"
    return Outcome(text, closed.value >= committee_report.RECOVERED)


def passes_are_saved(tables: Tables) -> Outcome:
    """Teachers are left out without loss."""
    method = committee_report.ASKING[0]
    if tables.committees.empty:
        return Outcome()
    mine = tables.committees[tables.committees["method"] == method]
    change = committee_report.difference(tables.committees, method, COMMITTEE)
    saved = float(mine["skipped"].mean())
    return Outcome(f"{saved:.0f} % fewer, {change} points", saved >= 100 * committee_report.SAVED and change.high >= 0)


def committee_beats(other: str, tables: Tables) -> Outcome:
    """The committee is above another way to join teachers."""
    if tables.committees.empty:
        return Outcome()
    return positive(committee_report.difference(tables.committees, COMMITTEE, other))


def dense_over_plain(teacher: str, direction: str, tables: Tables) -> Outcome:
    """A way to train students for segmentation and depth over labels alone."""
    runs = tables.dense
    if runs.empty:
        return Outcome()
    mine = runs[(runs["teacher"] == teacher) & (runs["direction"] == direction) & runs["distance"].isin(["", L2.name])]
    return positive(estimate(mine, "better"), "%")


def dense_inverted_over_traditional(tables: Tables) -> Outcome:
    """The inverted projection over the traditional one, from a classifier, on segmentation and depth."""
    runs = tables.dense
    if runs.empty:
        return Outcome()
    taught = runs[~runs["teacher"].isin([PLAIN, "spectral", "random"]) & (runs["distance"] == L2.name)]
    pair = ["cell", "seed", "teacher"]
    inverted, traditional = (
        taught[taught["direction"] == direction].set_index(pair)["better"] for direction in ("inverted", "traditional")
    )
    difference = (inverted - traditional).dropna().rename("difference").reset_index()
    return positive(estimate(difference, "difference"), "%")


def not_measured(tables: Tables) -> Outcome:
    """For claims that nothing here speaks of yet."""
    return Outcome()


SUITE = "small students from nothing, few labels, teachers of other tasks"
THREE = f"{SUITE}; three teachers"
PRETRAINED = "Debian sections, 200 labels, a student of two pretrained layers; weights tuned"
DENSE = "depth and segmentation of made scenes, `examples/dense_prediction/benchmark.py`, distance l2"
DENSE_FILE, DENSE_TRIALS_FILE = "dense.csv", "dense_trials.csv"
CLAIMS = (
    Claim(
        "SCTD", "the transport cost of a teacher's predictions measures how related two tasks are", SUITE, score_orders
    ),
    Claim(
        "SCTD",
        "that cost is an objective to distil by",
        f"{SUITE}; loss as published",
        partial(over_plain, "transport, literal"),
    ),
    Claim("SCTD", "the same, weighted by relatedness (ours)", SUITE, partial(over_plain, "transport, empirical")),
    Claim(
        "Learning to project",
        "an inverted projection is above a traditional one across tasks (up to 1.9 %)",
        SUITE,
        partial(over_method, "inverted projection", "traditional projection"),
    ),
    Claim(
        "Learning to project",
        "it helps with a random teacher",
        SUITE,
        partial(over_plain, "inverted projection", random=True),
    ),
    Claim(
        "Learning to project",
        "an inverted projection is above a traditional one on dense tasks",
        DENSE,
        dense_inverted_over_traditional,
    ),
    Claim(
        "Learning to project",
        "on dense tasks it helps with a random teacher (up to 7 %)",
        DENSE,
        partial(dense_over_plain, "random", "inverted"),
    ),
    Claim(
        "Learning to project",
        "on dense tasks the spectral part alone helps",
        DENSE,
        partial(dense_over_plain, "spectral", ""),
    ),
    Claim(
        "Learning to project",
        "the spectral part alone helps without a teacher (up to 2.3 %)",
        SUITE,
        partial(over_plain, "spectral"),
    ),
    Claim(
        "Relationship matching",
        "relations of a teacher's features help across tasks",
        SUITE,
        partial(over_plain, "relationship matching"),
    ),
    Claim(
        "Generic teacher",
        "one teacher helps any student of a pool (we ask for 80 % of them)",
        "216 small ResNets, 50 letters, all labels",
        partial(pool_is_helped, GENERIC),
    ),
    Claim(
        "Generic teacher",
        "so does it where students start from the weights of their branches (ours, after the code of SFTN)",
        "the same",
        partial(pool_is_helped, STARTED),
    ),
    Claim(
        "Generic teacher", "it costs about as much as a few specialised ones (we ask for 3)", "the same", pool_is_cheap
    ),
    Claim("DiverseDistill", "a committee recovers 73 to 114 % of the gap to the teacher", THREE, committee_recovers),
    Claim(
        "DiverseDistill",
        "about 30 % of the teachers' passes can be saved without loss",
        "two of three teachers asked",
        passes_are_saved,
    ),
    Claim("DiverseDistill", "it is above the best single teacher", THREE, partial(committee_beats, SINGLE)),
    Claim(
        "DiverseDistill",
        "plain averages of several teachers can fall below the best single one",
        "not compared at equal labels yet",
        not_measured,
    ),
    Claim(
        "B-Tuning",
        "features of ranked teachers tune a pretrained student better than its labels alone",
        PRETRAINED,
        partial(pretrained_beats, B_TUNING, PLAIN),
    ),
    Claim("AFT", "so do kernels of their features", PRETRAINED, partial(pretrained_beats, AFT, PLAIN)),
    Claim("AFT", "and better than B-Tuning", PRETRAINED, partial(pretrained_beats, AFT, B_TUNING)),
)
"""In our words, after the abstracts."""


def dense_table(runs: pandas.DataFrame) -> list[str]:
    """How much better than plain each way to train students for dense tasks is, cell by cell.

    Args:
        runs: of `load_dense`.
    """
    if runs.empty:
        return []
    taught = runs[runs["teacher"] != PLAIN]
    names = ["teacher", "direction", "distance", "weight"]
    ways = taught[names].drop_duplicates().sort_values(["direction", "teacher", "distance", "weight"])
    cells = sorted(taught["cell"].unique())
    rows = []
    for way in ways.itertuples(index=False):
        mine = taught[(taught[names] == list(way)).all(axis=1)]
        by_cell = [estimate(mine[mine["cell"] == cell], "better") for cell in cells]
        rows.append(
            [
                way.teacher,
                way.direction,
                way.distance,
                way.weight,
                *(f"{one} ({one.pairs})" if one.pairs else "" for one in by_cell),
            ]
        )
    return [
        "\nBetter than labels alone on dense tasks, in % of the metric (mean IoU of masks, relative error of depths), "
        "by task and number of scenes, all of them labelled (seeds):\n",
        table(["teacher", "projection", "distance", "weight", *cells], rows),
    ]


def dense_weights(trials: pandas.DataFrame) -> list[str]:
    """What each weight of a distance reaches on validation scenes, in a sentence; nothing without trials.

    Args:
        trials: of `load_dense`.
    """
    if trials.empty:
        return []
    taught = trials[trials["teacher"] != PLAIN]
    reached = [
        f"{cell}, {distance}: "
        + ", ".join(
            f"{better:+.1f} at {float(weight):g}" for better, weight in zip(of["better"], of["weight"], strict=True)
        )
        for (cell, distance), of in taught.groupby(["cell", "distance"])
    ]
    return [
        "\nOther weights of a distance, better than labels alone in % on validation scenes of one seed, an inverted "
        f"projection from the classifier: {'; '.join(reached)}."
    ]


def section(tables: Tables) -> str:
    """The section of `RESULTS.md`."""
    rows = []
    for claim in CLAIMS:
        outcome = claim.measure(tables)
        rows.append([claim.paper, claim.text, claim.setting, outcome.figure, outcome.verdict])
    return "\n".join(
        [
            BEGIN,
            "## What the papers claim\n",
            "Written by `python -m benchmarks.evidence claims` from the tables of the other sections. Claims are put "
            "in our words after the abstracts; the settings here are small, so that *does not hold* says that it did "
            "not show here, not that the paper is wrong. A gain holds if its 95 % interval is above zero; where the "
            "interval holds zero, nothing is settled.\n",
            table(["paper", "claim", "setting here", "measured", ""], rows),
            *dense_table(tables.dense),
            *dense_weights(tables.dense_trials),
            END,
        ]
    ) + "\n"  # fmt: skip
