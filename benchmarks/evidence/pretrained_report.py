"""The section on pretrained students: what a teacher adds where a pretrained encoder does most of the work."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas

from benchmarks.evidence.analysis import NOTHING, Estimate
from benchmarks.evidence.goals import Goal, gap_goals, harmless_goal
from benchmarks.evidence.grid import DEFAULT, PLAIN, STEPS
from benchmarks.evidence.packages import setfit
from benchmarks.evidence.pretrained_cell import (
    AFT,
    ALL,
    ALL_LABELS_SEEDS,
    ARMS,
    B_TUNING,
    CELLS,
    CONTROL,
    DRAWN,
    FORMER,
    FURTHER_TUNING_SEEDS,
    GAP,
    LINEAR_PROBE,
    LONGER,
    OWN,
    PICTURES,
    PROBES,
    RANDOM,
    RATES,
    SELF_TRAINING,
    TEACHER,
    TEACHER_FREE,
    TUNING,
    TUNING_SEED,
    Cell,
    Chosen,
    Workplace,
    arms_of,
    chosen_by,
    rows_of,
    unlabelled_rows,
    unpacked,
)
from benchmarks.evidence.report import table
from benchmarks.results_file import put, replaced
from hf_ctkd.demo.comparison import paired_gain
from hf_ctkd.records import write_text

BEGIN, END = "<!-- pretrained:begin -->", "<!-- pretrained:end -->"
README_BEGIN, README_END = "<!-- pretrained students:begin -->", "<!-- pretrained students:end -->"
LARGE_GAP, MANY_ROWS = 0.05, 10
"""Goals ask for a gain where the teacher's probe is that far above the student's own, and so many rows to a label."""
OWN_PROBE = next(name for name, members in PROBES.items() if members == (OWN,))
STUDENTS = {
    OWN_PROBE: "not fine-tuned: a linear probe on its frozen features",
    PLAIN: "fine-tuned on the labelled rows",
    LINEAR_PROBE: "the same, started from a linear probe (LP-FT)",
    setfit.NAME: "SetFit",
    B_TUNING: "B-Tuning, the same teacher",
    AFT: "AFT, the same teacher",
    SELF_TRAINING: "taught by its fine-tuned self",
    CONTROL: "taught by its own frozen layers",
    RANDOM: "the default, a teacher with random weights",
    DEFAULT: "**the default, a better encoder as teacher**",
}
"""How README names the arms."""
README_CELLS = {GAP: "texts", PICTURES: "pictures"}
"""Cells of README's table, and what it calls them."""


def load(rows: Sequence[dict[str, str]]) -> pandas.DataFrame:
    """Finished runs with the right test rows of each as an array; failed ones are left out."""
    columns = ["cell", "arm", "labels", "seed", "accuracy", "test_rows", "processor_seconds", "correct", "error"]
    frame = pandas.DataFrame([row for row in rows if not row["error"]], columns=columns)
    frame = frame.astype({"seed": int, "accuracy": float, "test_rows": int, "processor_seconds": float})
    pairs = zip(frame["correct"], frame["test_rows"], strict=True)
    return frame.assign(correct=[unpacked(text, count) for text, count in pairs])


def gain(frame: pandas.DataFrame, cell: Cell, arm: str, other: str, labels: str) -> Estimate:
    """One arm minus another in points over the seeds that both have; the interval resamples seeds and test rows.

    Args:
        frame: of runs.
        cell: of both.
        arm: one arm.
        other: that it is compared with.
        labels: of both.
    """
    part = frame[(frame["cell"] == cell.name) & (frame["labels"] == labels)]
    both = part[part["arm"] == arm].merge(part[part["arm"] == other], on="seed", suffixes=("", "_other"))
    if both.empty:
        return NOTHING
    outcome = paired_gain(both["correct"].tolist(), both["correct_other"].tolist())
    low, high = outcome.interval or (outcome.value, outcome.value)
    return Estimate(100 * outcome.value, 100 * low, 100 * high, 1, len(both))


def section(workplace: Workplace) -> str:
    """The whole section of `RESULTS.md`, between its markers."""
    rows = rows_of(workplace)
    frame = load(rows)
    goals = goals_of(frame, {cell.name: unlabelled_rows(cell) for cell in workplace.cells})
    parts = [
        BEGIN,
        "## Pretrained students\n",
        _introduction(frame, [row for row in rows if row["error"]]),
        "### Goals of pretrained students\n",
        "Written down before the first run. Gains are asked for in every cell where the probe of the teacher is "
        f"{100 * LARGE_GAP:.0f} points or more above that of the student's own features, the mean of the seeds, and "
        f"where at the fewest labels {MANY_ROWS} rows or more to each label have none; that no teacher harms is asked "
        "for everywhere. *Reached* goes by the mean, unless a goal speaks of intervals.\n",
        table(["goal", "measured", ""], [[goal.text, goal.measured, goal.verdict] for goal in goals]),
    ]
    measured = set(frame["cell"])
    for cell in (cell for cell in CELLS if cell.name in measured):
        trials = workplace.trials.rows()
        about = (
            _about(cell, chosen_by(workplace)) + by_weight(cell, trials) + by_rate(cell, trials) + by_draw(cell, trials)
        )
        parts += [f"\n### {cell.name}\n", about, cell_table(frame, cell)]
    planned = [f"{cell.name} ({cell.student} from {cell.teacher})" for cell in CELLS if cell.name not in measured]
    parts += [f"\nPlanned and not run yet: {', '.join(planned)}."] if planned else []
    return "\n".join([*parts, END]) + "\n"


def gap_cells(frame: pandas.DataFrame, unlabelled: Mapping[str, int]) -> list[Cell]:
    """The cells whose teacher knows more than the student and that have many unlabelled rows, as far as is known.

    Args:
        frame: of runs, the probes among them.
        unlabelled: training rows without a label at the fewest labels, by the name of the cell.
    """
    fewest = {cell.name: int(cell.labels[0]) for cell in CELLS}
    many = [cell for cell in CELLS if unlabelled.get(cell.name, 0) >= MANY_ROWS * fewest[cell.name]]
    return [cell for cell in many if _probe(frame, cell, TEACHER) - _probe(frame, cell, OWN) >= LARGE_GAP]


def _probe(frame: pandas.DataFrame, cell: Cell, member: str) -> float:
    """Mean accuracy of the probe of one model; no number if it did not run."""
    name = next(name for name, members in PROBES.items() if members == (member,))
    return float(frame[(frame["cell"] == cell.name) & (frame["arm"] == name)]["accuracy"].mean())


def goals_of(frame: pandas.DataFrame, unlabelled: Mapping[str, int]) -> list[Goal]:
    """The goals of the cells with a gap, and of harmlessness in all cells.

    Args:
        frame: of runs.
        unlabelled: training rows without a label at the fewest labels, by the name of the cell.
    """
    gains = [goal for cell in gap_cells(frame, unlabelled) for goal in _gap_goals(frame, cell)]
    harmless = {
        f"{arm}, {cell.name} at {labels} labels": gain(frame, cell, arm, PLAIN, labels)
        for cell in CELLS
        for labels in cell.labels
        for arm in (RANDOM, DEFAULT)
    }
    return [*gains, harmless_goal({name: estimate for name, estimate in harmless.items() if estimate.pairs})]


def _gap_goals(frame: pandas.DataFrame, cell: Cell) -> list[Goal]:
    fewest, compared = cell.labels[0], set(arms_of(cell))

    def over_best(arms: Sequence[str]) -> Estimate:
        estimates = [gain(frame, cell, DEFAULT, arm, fewest) for arm in arms]
        measured = [estimate for estimate in estimates if estimate.pairs]
        return min(measured, key=lambda estimate: estimate.value, default=NOTHING)

    return gap_goals(
        cell.name,
        gain(frame, cell, DEFAULT, PLAIN, fewest),
        over_best(TEACHER_FREE),
        over_best([setfit.NAME]) if setfit.NAME in compared else None,
        over_best([B_TUNING, AFT]) if {B_TUNING, AFT} & compared else None,
        _share_of_the_way(frame, cell),
    )


def _share_of_the_way(frame: pandas.DataFrame, cell: Cell) -> float | None:
    """How far the default comes from the plain student to the probe of both models."""
    part = frame[(frame["cell"] == cell.name) & (frame["labels"] == cell.labels[0])]
    means = part.groupby("arm")["accuracy"].mean()
    names = (PLAIN, DEFAULT, "probe of both")
    if not set(names) <= set(means.index):
        return None
    plain, default, probes = (means[name] for name in names)
    return float((default - plain) / (probes - plain)) if probes > plain else None


def _introduction(frame: pandas.DataFrame, failed: Sequence[dict[str, str]]) -> str:
    reasons = "".join(
        f"\n- failed: {row['cell']}, {row['arm']}, {row['labels']} labels, seed {row['seed']}: {row['error']}"
        for row in failed
    )
    tried = ", ".join(f"{rate:g}" for rate in RATES)
    rates = (
        f"Every arm trains at the learning rate {tried}, that of measurements made before"
        if len(RATES) == 1
        else f"Learning rates were tuned out of {tried} for every arm of every cell"
    )
    return (
        f"Written by `python -m benchmarks.evidence pretrained`: {len(frame)} runs, {len(failed)} failed. Every "
        "student is a pretrained encoder under a fresh head: the first two layers of all-MiniLM-L6-v2 for texts, a "
        "MobileNetV2 that sees 64 pixels a side for pictures. Every arm but "
        f"those with *words beside* takes {STEPS} or {LONGER * STEPS} steps, whichever validation rows prefer. "
        "*LP-FT* starts from a head that logistic regression fitted to the frozen features. "
        "*Self-training* learns what the plain student predicts, *own features* is the default's transport read out of "
        "the student's own frozen layers, *random weights* is the default with an untrained teacher. *Words "
        "beside* is what the default is for a student from scratch: the words of a row are its member without a "
        "teacher, in place of the student's own layers; validation rows of the first seed chose between the two. "
        "*Default, features alone* is what the default was: its member without a teacher read what the student's head "
        "reads, and without a better teacher the student trained on labels alone. Validation rows of further draws of "
        "the labels chose between that and the present one, which was trained there with teacher and student as two "
        "teachers: it has the same targets so. "
        "*SetFit* is the package of that name with its own learning rate and head, on as many texts a step, pairs of "
        f"labelled rows. *{B_TUNING}* and *{AFT}* read the labelled rows alone, as in their papers; "
        "validation rows chose weight and steps together, as listed with each cell. The pooled features of MiniLM "
        "hardly differ from row to row, so that B-Tuning fits a large map to them and needs weights far below the "
        "published 100. "
        f"{rates}; what validation rows chose, they chose at the fewest labels with seed {TUNING_SEED} "
        f"(`results/{TUNING}`). Test rows chose nothing. The probes are linear, fitted to labels "
        "and the frozen layers: what there is to be learnt. Seconds are processor time of a training run, reading of "
        "the teacher included where its outputs were not cached. Intervals are 95 % bootstrap intervals that resample "
        f"seeds and, within each, test rows. In brackets: how many seeds.{reasons}\n"
    )


def _about(cell: Cell, chosen: Chosen) -> str:
    recipes = chosen.get(cell.name, {})
    tuned = "; ".join(
        f"{arm} {recipe.learning_rate:g}"
        + (f" x {recipe.times * STEPS} steps" if recipe.times > 1 else "")
        + (f", weight {recipe.weight:g}" if recipe.weight is not None else "")
        for arm, recipe in recipes.items()
    )
    return (
        f"Student {cell.student}, teacher {cell.teacher}; {cell.rows} rows a step; *all*: every training row but one. "
        f"Learning rates: {tuned or 'not tuned yet'}.\n"
    )


def by_weight(cell: Cell, trials: Sequence[dict[str, str]]) -> str:
    """What tuning tried for the arms with a choice of weights, in a sentence each; empty without trials.

    Args:
        cell: that they are of.
        trials: all trials, with their validation accuracy.
    """
    sentences = ""
    for arm in (name for name, made in ARMS.items() if made.weights):
        tried = [row for row in trials if (row["cell"], row["arm"]) == (cell.name, arm) and not row["error"]]
        tried.sort(key=lambda row: (float(row["weight"]), int(row["steps"])))
        outcomes = [
            f"{100 * float(row['validation_accuracy']):.1f} at weight {float(row['weight']):g} and {row['steps']} steps"
            for row in tried
        ]
        sentences += f"Validation accuracy of {arm} in tuning: {', '.join(outcomes)}.\n" if outcomes else ""
    return sentences


def by_rate(cell: Cell, trials: Sequence[dict[str, str]]) -> str:
    """What the plain student and the default reach at other learning rates, in a sentence; empty without trials.

    Args:
        cell: that they are of.
        trials: all trials, with their validation accuracy.
    """
    reached: dict[str, list[str]] = {PLAIN: [], DEFAULT: []}
    longer = [row for row in trials if int(row["steps"]) == LONGER * STEPS and not row["error"]]
    for row in sorted(longer, key=lambda row: float(row["learning_rate"])):
        if row["cell"] == cell.name and row["arm"] in reached and row["seed"] == str(TUNING_SEED):
            accuracy = 100 * float(row["validation_accuracy"])
            reached[row["arm"]].append(f"{accuracy:.1f} at {float(row['learning_rate']):g}")
    if not all(len(accuracies) > len(RATES) for accuracies in reached.values()):
        return ""
    arms = "; ".join(f"{arm} {', '.join(accuracies)}" for arm, accuracies in reached.items())
    return f"Validation accuracy by learning rate, {LONGER * STEPS} steps: {arms}.\n"


def by_draw(cell: Cell, trials: Sequence[dict[str, str]]) -> str:
    """How students without a good teacher do on further draws of the labels; empty with one draw.

    Args:
        cell: that they are of.
        trials: all trials, with their validation accuracy.
    """
    few = _over_plain(cell, trials, cell.labels[0], FURTHER_TUNING_SEEDS)
    every = _over_plain(cell, trials, ALL, ALL_LABELS_SEEDS)
    sentences = f"Validation accuracy on further draws of the labelled rows, over {PLAIN}: {few}.\n" if few else ""
    if every:
        sentences += f"The same with all labels, other weights and batches, {LONGER * STEPS} steps: {every}.\n"
    return sentences


def _over_plain(cell: Cell, trials: Sequence[dict[str, str]], labels: str, seeds: Sequence[int]) -> str:
    """Points over the plain student of each arm that shares two seeds or more with it."""
    reached: dict[str, dict[str, float]] = {arm: {} for arm in (PLAIN, *DRAWN, FORMER)}
    for row in trials:
        drawn = row["seed"] in map(str, seeds) and row["labels"] == labels and not row["error"]
        if drawn and row["cell"] == cell.name and row["arm"] in reached:
            reached[row["arm"]][row["seed"]] = 100 * float(row["validation_accuracy"])
    parts = []
    for arm, by_seed in reached.items():
        draws = sorted(reached[PLAIN].keys() & by_seed.keys())
        if arm != PLAIN and len(draws) > 1:
            differences = pandas.Series([by_seed[draw] - reached[PLAIN][draw] for draw in draws])
            error = f"standard error {differences.sem():.1f}, {len(draws)} draws"
            parts.append(f"{arm} {differences.mean():+.1f} points ({error})")
    return "; ".join(parts)


def cell_table(frame: pandas.DataFrame, cell: Cell) -> str:
    """Arms x labels of one cell: accuracy, gain over the plain student and processor time."""
    part = frame[frame["cell"] == cell.name]
    rows = []
    for arm in (*PROBES, *arms_of(cell)):
        row: list[object] = [arm]
        for labels in cell.labels:
            change = NOTHING if arm == PLAIN else gain(frame, cell, arm, PLAIN, labels)
            row += [_accuracy(part, arm, labels), change if change.pairs else ""]
        seconds = part[part["arm"] == arm]["processor_seconds"]
        rows.append([*row, f"{seconds.median():.0f}" if len(seconds) else ""])
    return table(["arm", *(name for labels in cell.labels for name in (f"{labels} labels", "gain")), "seconds"], rows)


def _accuracy(part: pandas.DataFrame, arm: str, labels: str) -> str:
    runs = part[(part["arm"] == arm) & (part["labels"] == labels)]
    return f"{100 * runs['accuracy'].mean():.1f} ({len(runs)})" if len(runs) else ""


def readme_table(frame: pandas.DataFrame) -> str:
    """README's first table: what pretrained students of texts and of pictures reach, at the fewest labels."""
    head = [
        f"{kind}, {what}" for kind in README_CELLS.values() for what in ("accuracy % (seeds)", "gain, points (95 %)")
    ]
    rows = [
        [name, *(entry for cell in README_CELLS for entry in _readme_entries(frame, cell, arm))]
        for arm, name in STUDENTS.items()
    ]
    return table(["student", *head], rows)


def _readme_entries(frame: pandas.DataFrame, cell: Cell, arm: str) -> tuple[object, object]:
    """Accuracy of an arm and its gain over the plain student; empty where the cell does not compare it."""
    if arm not in (*PROBES, *arms_of(cell)):
        return "", ""
    labels = cell.labels[0]
    change = NOTHING if arm == PLAIN else gain(frame, cell, arm, PLAIN, labels)
    part = frame[frame["cell"] == cell.name]
    return _accuracy(part, arm, labels) or "not run yet", change if change.pairs else ""


def fill_readme(workplace: Workplace, target: Path) -> None:
    """Put the table between its markers in README.

    Raises:
        InvalidArgumentError: if the markers are missing.
    """
    text = f"{README_BEGIN}\n{readme_table(load(rows_of(workplace)))}\n{README_END}"
    write_text(target, replaced(target.read_text(encoding="utf-8"), README_BEGIN, README_END, text))


def write(text: str, target: Path) -> None:
    """Put the section into a file, in place of the one that is there, or at its end."""
    put(text, BEGIN, END, target)
