"""The section of `RESULTS.md`: Markdown, from the runs alone."""

from collections.abc import Mapping, Sequence

import pandas

from benchmarks.evidence.generic.analysis import difference, students, teachers
from benchmarks.evidence.generic.design import (
    ABLATED,
    ABLATIONS,
    ALONE,
    EXACT,
    EXACT_TARGET,
    GENERIC,
    LABELS,
    PLAIN,
    POOL,
    SAME,
    STUDENT_STEPS,
    STUDENTS,
    TASK,
    TEACHER_STEPS,
    UNIFORM,
    WRONG_TARGET,
)
from benchmarks.evidence.generic.speed import ROUNDS
from benchmarks.evidence.report import table

BEGIN, END = "<!-- generic:begin -->", "<!-- generic:end -->"
SHARE_GOAL, STEP_GOAL, SPECIALISED_GOAL = 0.8, 3.0, 3.0


def section(
    frame: pandas.DataFrame,
    speed: Mapping[str, Mapping[str, float]],
    tuning: Mapping[str, Mapping],
    failed: Sequence[Mapping[str, str]],
) -> str:
    """The whole section, between its markers."""
    parts = [
        BEGIN,
        "## One teacher for a pool of students\n",
        _introduction(frame, tuning, failed),
        "### Goals\n",
        goals_table(frame, speed),
        "\n### Students of each teacher\n",
        "Test accuracy of the distilled students, and what they gain over the same students of a plainly trained "
        "teacher; *at one temperature*: over a plain teacher's students of the same temperature of distillation, where "
        "tuning gave plain ones another.\n",
        arms_table(frame, (ALONE, PLAIN, SAME, GENERIC, UNIFORM, WRONG_TARGET), None),
        f"\nThe {EXACT} students that also have a teacher of their own:\n",
        arms_table(frame, (PLAIN, SAME, GENERIC, UNIFORM, WRONG_TARGET, EXACT_TARGET), _names(EXACT)),
        "\n![gains](figures/generic_gains.png)\n",
        "### What each part adds\n",
        f"The generic teacher with one part changed, on the first {ABLATED} students, at one temperature of "
        "distillation; in the last column the part helps where it is above zero.\n",
        ablations_table(frame),
        "\n### Teachers and their cost\n",
        "All have the same rows and steps. *Seconds* are of the processor, one thread. A specialised teacher is one of "
        "SFTN for an exact student.\n",
        teachers_table(frame),
        "\n### Students against latency\n",
        "Milliseconds of one row on one CPU thread, the best of several medians; lines are Pareto fronts.\n",
        "![latency](figures/generic_latency.png)\n",
        END,
    ]
    return "\n".join(parts) + "\n"


def _introduction(frame: pandas.DataFrame, tuning: Mapping, failed: Sequence[Mapping[str, str]]) -> str:
    chosen = tuning["chosen"]
    mine = frame[frame["kind"] == "student"]
    reasons = "".join(
        f"\n- failed: {one['arm']}, {one['student']}, seed {one['seed']}: {one['error']}" for one in failed
    )
    branches = ", ".join(f"{name} {value}" for name, value in chosen["branches"].items())
    return (
        f"Written by `python -m benchmarks.evidence generic` from `benchmarks/evidence/results/generic.csv`: "
        f"{len(mine)} students, {len(frame) - len(mine)} teachers, {len(failed)} failed. Pool: {len(POOL)} ResNets, of "
        f"which {len(STUDENTS)} were drawn at random. Task: {TASK}, {LABELS} labelled and 550 unlabelled rows, 347 "
        f"test rows; teachers learned from 700 other labelled digits in {TEACHER_STEPS} steps, students by ordinary "
        f"distillation (`KLLoss` beside cross-entropy) in {STUDENT_STEPS}. A student has the same "
        "labelled rows, initial weights and batches under every teacher. Learning rates were tuned on validation rows "
        f"with other seeds and students, with the plain teacher (teachers {chosen['teacher_rate']:g}, students "
        f"{chosen['student_rate']:g}, students without a teacher {chosen['alone_rate']:g}); the branches' settings so "
        f"too, with the generic one ({branches}); and the temperature of distillation, of which the same three were "
        f"tried with the plain teacher (best {chosen['plain_temperature']:g}) and with the generic one (best "
        f"{chosen['generic_temperature']:g}, which all teachers with branches share). {_HISTORY} Test rows chose "
        "nothing. Intervals are 95 % bootstrap intervals over students crossed with seeds: all students of a seed "
        f"share their teachers, and three seeds make a rough interval.{reasons}\n"
    )


_HISTORY = (
    "A first tuning had fewer trials a choice and left out the weight of the branches' divergence; at its usual weight "
    "(among the ablations below) students did worse than a plain teacher's at the same temperature, on test rows too, "
    "and the weight was tuned, on validation rows, after that was seen."
)


def goals_table(frame: pandas.DataFrame, speed: Mapping[str, Mapping[str, float]]) -> str:
    gain, same = difference(frame, GENERIC), difference(frame, GENERIC, SAME)
    cost, steps = teachers(frame), speed["step_ms"]
    rows = []
    if gain is not None:
        beside = "" if same is None else f" (at one temperature {same.improved:.0%}; {same})"
        rows.append(
            [
                f"share of {gain.students} students improved over the plain teacher's: at least {SHARE_GOAL:.0%}",
                f"{gain.improved:.0%}; mean gain {gain} points{beside}",
                _reached(gain.improved >= SHARE_GOAL),
            ]
        )
    if {GENERIC, EXACT_TARGET} <= set(cost.index):
        ratio = cost.loc[GENERIC, "processor"] / cost.loc[EXACT_TARGET, "processor"]
        rows.append(
            [
                f"training time: at most that of {SPECIALISED_GOAL:g} specialised teachers, in as many steps as one",
                f"{ratio:.2f} specialised teachers, {cost.loc[GENERIC, 'steps']:.0f} steps",
                _reached(ratio <= SPECIALISED_GOAL),
            ]
        )
    ratio = steps[GENERIC] / steps[PLAIN]
    whole = cost["processor"].get(GENERIC, float("nan")) / cost["processor"].get(PLAIN, float("nan"))
    rows.append(
        [
            f"a step with 2 sampled paths: at most {STEP_GOAL:g} plain steps",
            f"{ratio:.2f} ({steps[GENERIC]:.1f} ms against {steps[PLAIN]:.1f} ms) in the first {ROUNDS} steps, when "
            f"most paths are new; {whole:.2f} over a whole training",
            _reached(ratio <= STEP_GOAL),
        ]
    )
    return table(["goal", "measured", ""], rows)


def arms_table(frame: pandas.DataFrame, arms: Sequence[str], names: Sequence[str] | None) -> str:
    rows = []
    for arm in arms:
        mine = students(frame, arm, names)
        if mine.empty:
            continue
        gain = None if arm == PLAIN else difference(frame, arm, names=names)
        same = None if arm in (PLAIN, SAME, ALONE) else difference(frame, arm, SAME, names)
        rows.append(
            [
                arm, f"{len(mine)} x {mine.shape[1]}", f"{mine.to_numpy().mean():.1f}",
                "" if gain is None else gain, "" if gain is None else f"{gain.improved:.0%}",
                "" if gain is None else f"{gain.worst}: {gain.lowest:+.1f}",
                "" if same is None else f"{same}, {same.improved:.0%} improved",
            ]
        )  # fmt: skip
    header = [
        "teacher",
        "students x seeds",
        "accuracy",
        "gain over the plain teacher's",
        "improved",
        "worst student",
        "at one temperature",
    ]
    return table(header, rows)


def ablations_table(frame: pandas.DataFrame) -> str:
    names = _names(ABLATED)
    plain = SAME if SAME in set(frame["arm"]) else PLAIN  # at the temperature of the others
    rows = []
    for arm in (GENERIC, UNIFORM, *ABLATIONS):
        over, part = difference(frame, arm, plain, names), difference(frame, GENERIC, arm, names)
        if over is None or part is None:
            continue
        said = "uniform paths, no architecture loss" if arm == UNIFORM else arm
        rows.append([said, f"{over.students} x {over.seeds}", over, "" if arm == GENERIC else part])
    return table(["teacher", "students x seeds", "over the plain teacher", "generic teacher over this one"], rows)


def teachers_table(frame: pandas.DataFrame) -> str:
    cost = teachers(frame)
    plain = cost["processor"].get(PLAIN)
    special = cost["processor"].get(EXACT_TARGET)
    rows = [
        [
            arm, int(one["count"]), f"{one['accuracy']:.1f}", f"{one['steps']:.0f}", f"{one['processor']:.1f}",
            "" if plain is None else f"{one['processor'] / plain:.2f}",
            "" if special is None else f"{one['processor'] / special:.2f}",
        ]
        for arm, one in cost.iterrows()
    ]  # fmt: skip
    header = [
        "teacher",
        "made",
        "own test accuracy",
        "steps",
        "seconds",
        "in plain teachers",
        "in specialised teachers",
    ]
    return table(header, rows)


def _names(count: int) -> list[str]:
    return [student.name for student in STUDENTS[:count]]


def _reached(yes: bool) -> str:
    return "reached" if yes else "**missed**"
