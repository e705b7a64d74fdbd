"""The section of `RESULTS.md`: Markdown, from the runs alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas

from benchmarks.evidence.generic.analysis import difference, students, teachers
from benchmarks.evidence.generic.design import (
    ABLATED,
    ABLATIONS,
    ALONE,
    EXACT,
    EXACT_TARGET,
    GENERIC,
    PLAIN,
    POOL,
    SAME,
    STARTED,
    STUDENTS,
    UNIFORM,
    WRONG_TARGET,
    Case,
)
from benchmarks.evidence.generic.figures import figure_name
from benchmarks.evidence.generic.speed import FIRST
from benchmarks.evidence.report import table

BEGIN, END = "<!-- generic:begin -->", "<!-- generic:end -->"
SHARE_GOAL, STEP_GOAL, SPECIALISED_GOAL = 0.8, 3.0, 3.0


@dataclass(frozen=True)
class Part:
    """What was found of one case.

    Args:
        case: whose rows teachers learned from.
        frame: its runs, see `load`.
        tuning: the file of what was chosen.
        failed: rows of runs that failed.
    """

    case: Case
    frame: pandas.DataFrame
    tuning: Mapping[str, Mapping]
    failed: Sequence[Mapping[str, str]]


def section(parts: Sequence[Part], speed: Mapping[str, Mapping[str, float]]) -> str:
    """The whole section, between its markers."""
    parts_of_section = [BEGIN, "## One teacher for a pool of students\n", _introduction(parts)]
    for part in parts:
        parts_of_section += _case(part, speed)
    return "\n".join([*parts_of_section, END]) + "\n"


def _case(part: Part, speed: Mapping[str, Mapping[str, float]]) -> list[str]:
    frame = part.frame
    return [
        f"### {part.case.title}\n",
        _setting(part),
        goals_table(frame, speed),
        "\nTest accuracy of the distilled students, and what they gain over the same students of a plainly trained "
        "teacher; *at one temperature*: over a plain teacher's students of the same temperature of distillation, where "
        "tuning gave plain ones another. Branches were trained beside the teacher, so that students which start from "
        "them have learned for longer than the others.\n",
        arms_table(frame, (ALONE, PLAIN, SAME, GENERIC, STARTED, UNIFORM, WRONG_TARGET), None),
        f"\nThe {EXACT} students that also have a teacher of their own:\n",
        arms_table(frame, (PLAIN, SAME, GENERIC, UNIFORM, WRONG_TARGET, EXACT_TARGET), _names(EXACT)),
        f"\n![gains](figures/{figure_name('gains', part.case.slug)})\n",
        f"What each part adds: the generic teacher with one part changed, on the first {ABLATED} students, at one "
        "temperature of distillation; in the last column the part helps where it is above zero.\n",
        ablations_table(frame),
        "\nTeachers and their cost. All have the same rows and steps. *Seconds* are of the processor, one thread. A "
        "specialised teacher is one of SFTN for an exact student.\n",
        teachers_table(frame),
        "\nStudents against latency: milliseconds of one row on one CPU thread, the best of several medians; lines are "
        "Pareto fronts.\n",
        f"![latency](figures/{figure_name('latency', part.case.slug)})\n",
    ]


def _introduction(parts: Sequence[Part]) -> str:
    made = pandas.concat([part.frame for part in parts])
    students_made = int((made["kind"] == "student").sum())
    failed = [row for part in parts for row in part.failed]
    reasons = "".join(
        f"\n- failed: {run['arm']}, {run['student']}, seed {run['seed']}: {run['error']}" for run in failed
    )
    return (
        f"Written by `python -m benchmarks.evidence generic` from `benchmarks/evidence/results/generic*.csv`: "
        f"{students_made} students, {len(made) - students_made} teachers, {len(failed)} failed. Pool: {len(POOL)} "
        f"ResNets, of which {len(STUDENTS)} were drawn at random. Students learn by "
        "ordinary distillation (`KLLoss` beside cross-entropy) on labelled and unlabelled rows. A student has the same "
        "labelled rows, initial weights and batches under every teacher. Learning rates were tuned on validation rows "
        "with other seeds and students, with the plain teacher; the branches' settings so too, with the generic one; "
        "and the temperature of distillation, of which the same were tried with the plain teacher and with the generic "
        "one, whose temperature all teachers with branches share. Test rows chose nothing. Intervals are 95 % "
        "bootstrap intervals over students crossed with seeds: all students of a seed share their teachers, and three "
        f"seeds make a rough interval.{reasons}\n"
    )


_HISTORY = {
    "": "A first tuning had fewer trials a choice and left out the weight of the branches' divergence; at its usual "
    "weight (among the ablations below) students did worse than a plain teacher's at the same temperature, on test "
    "rows too, and the weight was tuned, on validation rows, after that was seen.",
    "headroom": "The task was chosen before a generic teacher was trained on it, since students stay well below the "
    "plain teacher there (see *own test accuracy* below).",
    "scarce": "This case was added after the first one was seen, on what validation rows of other seeds said with "
    "untuned teachers: where labels are few the branches hold the teacher back from overfitting, and it is the better "
    "one itself. On capital letters (130 labels), also looked at so, it was the better one too, yet its students were "
    "worse; on Greek letters with rows of its own, teacher and students were worse.",
}


def _setting(part: Part) -> str:
    case, chosen = part.case, part.tuning["chosen"]
    branches = ", ".join(f"{name} {value}" for name, value in chosen["branches"].items())
    whose = f"the same {case.labels}" if case.shared else "700 other labelled ones"
    regular = chosen.get("plain_regular", 0.0)
    regularisation = f", weight decay and label smoothing of the plain one {regular:g}" if case.shared else ""
    return (
        f"Task: {case.task}. Students have {case.labels} labelled rows, the other training rows without labels, and "
        f"{case.student_steps} steps; teachers learn from {whose}, in {case.teacher_steps} steps. Tuned: learning rate "
        f"of teachers {chosen['teacher_rate']:g}{regularisation}, of students {chosen['student_rate']:g}, of students "
        f"without a teacher {chosen['alone_rate']:g}; branches {branches}; temperature with the plain teacher "
        f"{chosen['plain_temperature']:g}, with the others {chosen['generic_temperature']:g}. {_HISTORY[case.slug]}\n"
    )


def goals_table(frame: pandas.DataFrame, speed: Mapping[str, Mapping[str, float]]) -> str:
    gain, same = difference(frame, GENERIC), difference(frame, GENERIC, SAME)
    started = difference(frame, STARTED)
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
    if started is not None:
        rows.append(
            [
                f"the same of {started.students} students that start from the weights of their branches",
                f"{started.improved:.0%}; mean gain {started} points",
                _reached(started.improved >= SHARE_GOAL),
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
    ratio, first = steps[GENERIC] / steps[PLAIN], speed["first_step_ms"]
    rows.append(
        [
            f"a step with 2 sampled paths: at most {STEP_GOAL:g} plain steps",
            f"{ratio:.2f} ({steps[GENERIC]:.1f} ms against {steps[PLAIN]:.1f} ms), mean over a training of "
            f"{speed['steps']} steps; {first[GENERIC] / first[PLAIN]:.2f} in its first {FIRST}, when most paths are "
            "new",
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
        label = "uniform paths, no architecture loss" if arm == UNIFORM else arm
        rows.append([label, f"{over.students} x {over.seeds}", over, "" if arm == GENERIC else part])
    return table(["teacher", "students x seeds", "over the plain teacher", "generic teacher over this one"], rows)


def teachers_table(frame: pandas.DataFrame) -> str:
    cost = teachers(frame)
    plain = cost["processor"].get(PLAIN)
    special = cost["processor"].get(EXACT_TARGET)
    rows = [
        [
            arm, int(row["count"]), f"{row['accuracy']:.1f}", f"{row['steps']:.0f}", f"{row['processor']:.1f}",
            "" if plain is None else f"{row['processor'] / plain:.2f}",
            "" if special is None else f"{row['processor'] / special:.2f}",
        ]
        for arm, row in cost.iterrows()
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
