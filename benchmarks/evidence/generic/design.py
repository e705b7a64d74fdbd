"""What is compared: the pool and its students, the teachers, and how each is trained."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from hf_ctkd.generic import PoolMember, StudentPool

FORMAT = 2
"""Raise it when the library changes so that earlier runs no longer count."""

TEACHER_WIDTHS, TEACHER_DEPTHS = (24, 48, 96), (2, 2, 2)
BATCH = 32


@dataclass(frozen=True)
class Case:
    """Whose rows teachers learn from, and whom they teach.

    Args:
        slug: in the names of files; empty for the first.
        title: of its part of the section.
        task: of the students.
        labels: labelled rows of the students.
        shared: whether teachers learn from these very rows, as the paper has it, or from other ones, all labelled.
        student_steps: of each student.
        teacher_steps: of each teacher.
    """

    slug: str
    title: str
    task: str
    labels: int
    shared: bool
    student_steps: int
    teacher_steps: int = 300


RICH = Case("", "Teachers with many rows of their own", "digits", 50, shared=False, student_steps=200)
"""Students have 50 labelled and 550 unlabelled handwritten digits; teachers other 700, all labelled."""
SCARCE = Case("scarce", "Teachers with the students' few labelled rows", "digits", 150, shared=True, student_steps=200)
"""Students have 150 labelled and 450 unlabelled handwritten digits; teachers the same 150."""
HEADROOM = Case(
    "headroom",
    "A task that is hard for the students",
    "benchmarks.evidence.generic.letters:build",
    1499,
    shared=True,
    student_steps=400,
    teacher_steps=600,
)
"""The paper's setting: 50 letters, all rows labelled but the one that a task leaves out, for teachers and students."""
CASES = (HEADROOM, RICH, SCARCE)

USUAL = 4.0
"""Temperature of `KLLoss` unless it is tuned."""

POOL = StudentPool("resnet", ((1, 2),) * 3, widths=((4, 6, 8), (8, 12, 16), (16, 24, 32)), input_size=16)
_DRAWN = POOL.sample(21, seed=20)
STUDENTS, WRONG = _DRAWN[:20], _DRAWN[20]
"""Students that are distilled, drawn at random, and the one that stands for a wrong target."""
EXACT, ABLATED = 4, 8
"""How many of the students, from the first, have a teacher of their own, and take part in the ablations."""
SEEDS = (0, 1, 2)
"""Of labelled rows, initial weights and batches, of teachers and students alike."""

ALONE, PLAIN, SAME = "no teacher", "plain teacher", "plain teacher, temperature of the others"
GENERIC, UNIFORM = "generic teacher", "uniform paths"
STARTED = "generic teacher, students start from its branches"
WRONG_TARGET, EXACT_TARGET = "SFTN, wrong student", "SFTN, exact student"
ABLATIONS: dict[str, dict[str, Any]] = {
    "KL in the other direction": {"kl_direction": "other"},
    "architecture loss with the other sign": {"architecture_sign": -1},
    "KL weight 3, as in SFTN": {"branch_kl_weight": 3.0},
    "score function instead of Gumbel": {"path_sampler": "categorical"},
    "no entropy term": {"entropy_weight": 0.0},
    "no KL, branches' CE alone": {"branch_kl_weight": 0.0},
}
"""What is changed in the generic teacher; `UNIFORM` takes away the trained paths, and their architecture loss too."""


@dataclass(frozen=True)
class Tuning:
    """What is chosen on validation rows, with other seeds than any measured run has.

    Args:
        teacher_rate: learning rate of every teacher.
        student_rate: learning rate of every student with a teacher.
        alone_rate: learning rate of students without one.
        branches: settings of the branches of every teacher that has some.
        plain_temperature: of the distillation from a plain teacher.
        generic_temperature: of the distillation from every teacher that had branches, which leave it softer.
        plain_regular: weight decay and label smoothing of the plain teacher.
        case: what it was tuned for.
    """

    teacher_rate: float = 3e-3
    student_rate: float = 3e-3
    alone_rate: float = 3e-3
    branches: dict[str, Any] = field(default_factory=dict)
    plain_temperature: float = USUAL
    generic_temperature: float = USUAL
    plain_regular: float = 0.0
    case: Case = RICH


@dataclass(frozen=True)
class TeacherRun:
    """One teacher.

    Args:
        arm: how it is made.
        seed: of its weights and batches.
        rate: learning rate.
        branches: settings of its branches.
        target: path of the one student that it is made for; None for a whole pool or none.
        regular: weight decay and label smoothing.
        case: tells its rows.
    """

    arm: str
    seed: int
    rate: float
    branches: dict[str, Any]
    target: tuple[int, ...] | None = None
    regular: float = 0.0
    case: Case = RICH

    @property
    def pool(self) -> StudentPool | None:
        """The students on its stages."""
        if self.arm == PLAIN:
            return None
        return POOL if self.target is None else POOL.only(PoolMember(POOL, self.target))

    @property
    def key(self) -> str:
        """Identifies it by all that shapes it."""
        shaping = replace(self, case=replace(self.case, slug="", title=""))
        return _digest([FORMAT, TEACHER_WIDTHS, TEACHER_DEPTHS, BATCH, asdict(shaping), POOL.to_dict()])


@dataclass(frozen=True)
class StudentRun:
    """One student, distilled from a teacher at a temperature, or trained alone."""

    student: tuple[int, ...]
    seed: int
    rate: float
    teacher: TeacherRun | None
    temperature: float = USUAL
    arm: str = ALONE
    case: Case = RICH

    @property
    def starts_from_branches(self) -> bool:
        """Whether its first weights are those of its branches on the teacher, which learned beside it."""
        return self.arm == STARTED

    @property
    def member(self) -> PoolMember:
        """Its architecture."""
        return PoolMember(POOL, self.student)

    @property
    def key(self) -> str:
        """Identifies it by all that shapes it."""
        teacher = None if self.teacher is None else self.teacher.key
        case = [self.case.task, self.case.labels, self.case.student_steps]
        content = [FORMAT, *case, BATCH, self.student, self.seed, self.rate, teacher, self.temperature]
        return _digest([*content, self.starts_from_branches])


def teacher_of(arm: str, seed: int, tuning: Tuning, target: PoolMember | None = None) -> TeacherRun:
    """The teacher of an arm; one for a single student draws that one alone, so one path a step is enough."""
    branches = dict(tuning.branches)
    for name, value in ABLATIONS.get(arm, {}).items():
        branches[name] = _other(branches["kl_direction"]) if value == "other" else value
    if arm == UNIFORM:
        branches["path_sampler"] = "uniform"
    if target is not None:
        branches |= {"path_sampler": "uniform", "paths_per_step": 1}
    path = None if target is None else target.path
    if arm == PLAIN:
        return TeacherRun(arm, seed, tuning.teacher_rate, {}, None, tuning.plain_regular, tuning.case)
    return TeacherRun(arm, seed, tuning.teacher_rate, branches, path, case=tuning.case)


def arms_at_one_temperature(tuning: Tuning) -> tuple[str, ...]:
    """The plain teacher at the temperature of the others, where it has another: the teachers' share of a difference."""
    return (SAME,) if tuning.plain_temperature != tuning.generic_temperature else ()


def plan(tuning: Tuning, seeds: tuple[int, ...] = SEEDS) -> Iterator[StudentRun]:
    """All students, those that the main question needs first."""
    first, rest = STUDENTS[:ABLATED], STUDENTS[ABLATED:]
    blocks = [
        ((PLAIN, GENERIC, STARTED), STUDENTS),
        ((UNIFORM, WRONG_TARGET), first),
        ((EXACT_TARGET,), STUDENTS[:EXACT]),
        (arms_at_one_temperature(tuning), STUDENTS),
        (tuple(ABLATIONS)[:3], first),
        ((UNIFORM, WRONG_TARGET), rest),
        ((ALONE, *tuple(ABLATIONS)[3:]), first),
    ]
    for arms, students in blocks:
        for seed in seeds:
            for arm in arms:
                yield from (_student_run(student, arm, seed, tuning) for student in students)


def _student_run(student: PoolMember, arm: str, seed: int, tuning: Tuning) -> StudentRun:
    if arm == ALONE:
        return StudentRun(student.path, seed, tuning.alone_rate, None, case=tuning.case)
    target = {WRONG_TARGET: WRONG, EXACT_TARGET: student}.get(arm)
    teacher = teacher_of({SAME: PLAIN, STARTED: GENERIC}.get(arm, arm), seed, tuning, target)
    temperature = tuning.plain_temperature if arm == PLAIN else tuning.generic_temperature
    return StudentRun(student.path, seed, tuning.student_rate, teacher, temperature, arm, tuning.case)


# ---- tuning ---------------------------------------------------------------------------------------------------------

TUNING_SEEDS, TUNING_STUDENTS = (1000, 1001, 1002), POOL.sample(6, seed=99)
"""Of the later rounds; the many trials of the first have the first two seeds and the first four students."""
TEACHER_RATES, STUDENT_RATES = (1e-3, 3e-3, 1e-2), (3e-3, 1e-2, 3e-2)
TEMPERATURES = (1.0, 2.0, 4.0)
BRANCH_TEMPERATURES = (1.0, 2.0, 4.0)
"""Of the divergence between branch and teacher; SFTN has 1 while the teacher trains."""
KL_WEIGHTS = (0.3, 1.0, 3.0)
REGULAR = (0.0, 0.1)
BRANCHES = [
    {"kl_direction": direction, "branch_temperature": temperature}
    for direction in ("from_branch", "from_teacher")
    for temperature in BRANCH_TEMPERATURES
]


def first_round(case: Case = RICH) -> dict[str, Tuning]:
    """Learning rates of teachers and students, with the plain teacher; those of students alone beside them."""
    return {
        f"teacher {of_teacher:g}, student {of_student:g}": Tuning(of_teacher, of_student, of_student, case=case)
        for of_teacher in TEACHER_RATES for of_student in STUDENT_RATES
    }  # fmt: skip


def plain_round(best: Tuning) -> dict[str, Tuning]:
    """The plain teacher with and without regularisation, which branches are too; where its rows are many, without."""
    return {
        f"regularisation {regular:g}": replace(best, plain_regular=regular)
        for regular in REGULAR
        if best.case.shared or not regular
    }


def second_round(best: Tuning) -> dict[str, Tuning]:
    """Direction and temperature of the divergence, with the generic teacher and the rates that suited the plain one."""
    return {json.dumps(branches): replace(best, branches=branches) for branches in BRANCHES}


def third_round(best: Tuning) -> dict[str, Tuning]:
    """Weights of the divergence between branch and teacher, with the generic teacher."""
    return {
        f"KL weight {weight:g}": replace(best, branches={**best.branches, "branch_kl_weight": weight})
        for weight in KL_WEIGHTS
    }


def fourth_round(best: Tuning, arm: str) -> dict[str, Tuning]:
    """Temperatures of distillation, as many for the plain teacher as for the generic one."""
    name = "plain_temperature" if arm == PLAIN else "generic_temperature"
    return {f"temperature {temperature:g}": replace(best, **{name: temperature}) for temperature in TEMPERATURES}


def trials(tuning: Tuning, arm: str, *, few: bool = False) -> list[StudentRun]:
    """The students by whose validation accuracy a choice is made."""
    seeds, students = (TUNING_SEEDS[:2], TUNING_STUDENTS[:4]) if few else (TUNING_SEEDS, TUNING_STUDENTS)
    return [_student_run(student, arm, seed, tuning) for seed in seeds for student in students]


def _other(direction: str) -> str:
    return "from_teacher" if direction == "from_branch" else "from_branch"


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
