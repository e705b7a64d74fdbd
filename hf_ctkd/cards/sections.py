"""The parts of a card that are computed: tables of teachers, scores, results and cost."""

from collections.abc import Mapping, Sequence

from hf_ctkd.cards.licenses import NOT_STATED
from hf_ctkd.cards.markdown import escape, listing, number, setting, size, table
from hf_ctkd.cards.metadata import short_name
from hf_ctkd.records import (
    Confidence,
    DistillationRecord,
    PoolRecord,
    RankedTeacher,
    TeacherCandidate,
    TeacherRanking,
)

SHOWN_TEACHERS = 10
SHOWN_SKIPPED = 20
_YES_OR_NO = {True: "yes", False: "no", None: ""}
HUB = "https://huggingface.co"


def teacher_link(candidate: TeacherCandidate) -> str:
    """The teacher's name, linked to the very revision when it lies on the Hub."""
    name = escape(candidate.name)
    if candidate.source != "hub" or not candidate.revision.isalnum():
        return name
    return f"[{name}]({HUB}/{_url(candidate.model_id)}/tree/{candidate.revision})"


def teachers_table(record: DistillationRecord) -> str:
    """Every teacher with its revision, classes, size, licence and weight."""
    rows = []
    for teacher in record.teachers:
        candidate = teacher.candidate
        names = candidate.label_names
        rows.append(
            [
                teacher_link(candidate) + (f" ({escape(candidate.role)})" if candidate.role else ""),
                escape(candidate.revision[:12]),
                "none, or not known" if names is None else f"{len(names)}: {listing(names, 6)}",
                size(candidate.parameters),
                escape(candidate.license) if candidate.license else NOT_STATED,
                number(teacher.weight),
            ]
        )
    return table(["teacher", "revision", "its own classes", "parameters", "licence", "weight"], rows)


def ranking_table(record: DistillationRecord, ranking: TeacherRanking) -> str:
    """The ten best teachers with every score, those used marked."""
    used = {(teacher.candidate.model_id, teacher.candidate.revision) for teacher in record.teachers}
    names = ranking.score_names
    header = ["rank", "teacher", "used", *(_score_title(name, ranking) for name in names), "parameters", "licence"]
    rows = [
        [
            str(rank),
            teacher_link(teacher.candidate),
            "yes" if (teacher.candidate.model_id, teacher.candidate.revision) in used else "",
            *(number(teacher.scores.get(name)) for name in names),
            size(teacher.candidate.parameters),
            escape(teacher.candidate.license) if teacher.candidate.license else NOT_STATED,
        ]
        for rank, teacher in enumerate(ranking.scored[:SHOWN_TEACHERS], 1)
    ]
    return table(header, rows) if rows else "No candidate could be scored."


def skipped_list(ranking: TeacherRanking) -> str:
    """The teachers that could not be scored, each with its reason."""
    skipped: list[RankedTeacher] = [teacher for teacher in ranking.teachers if teacher.skipped is not None]
    lines = [f"- {escape(t.candidate.name)}: {escape(t.skipped or '', 240)}" for t in skipped[:SHOWN_SKIPPED]]
    more = len(skipped) - len(lines)
    return "\n".join([*lines, *([f"- and {more} more, in `ranking.json`"] if more else [])])


def results_table(record: DistillationRecord) -> str:
    """Metrics with their intervals, if any, beside the student trained without distillation where there is one."""
    if not record.baseline:
        return table(["metric", "student"], [[escape(n), _interval(v)] for n, v in record.results.items()])
    rows = []
    for name, student in record.results.items():
        baseline = record.baseline.get(name)
        difference = None if baseline is None else student.value - baseline.value
        rows.append(
            [
                escape(name),
                _interval(student),
                _interval(baseline),
                number(difference, sign=True),
                _YES_OR_NO[None if baseline is None else overlap(student, baseline)],
            ]
        )
    return table(["metric", "student", "without distillation", "difference", "intervals overlap"], rows)


def overlap(left: Confidence, right: Confidence) -> bool | None:
    """Whether two intervals have a point in common; None where one is missing."""
    if left.interval is None or right.interval is None:
        return None
    return left.interval[0] <= right.interval[1] and right.interval[0] <= left.interval[1]


def levels(record: DistillationRecord) -> str:
    """Coverage of the intervals, such as `95 %`; empty without any."""
    values = [*record.results.values(), *record.baseline.values()]
    found = sorted({value.level for value in values if value.interval is not None})
    return " and ".join(f"{100 * level:g} %" for level in found)


def cost_table(record: DistillationRecord) -> str:
    """Size and speed of the student and of its teachers."""
    student = record.student
    rows = [["this student", size(student.parameters), "", _speed(student.rows_per_second), ""]]
    for teacher in record.teachers:
        parameters = teacher.candidate.parameters
        rows.append(
            [
                escape(teacher.candidate.name),
                size(parameters),
                _times(parameters, student.parameters),
                _speed(teacher.rows_per_second),
                _times(student.rows_per_second, teacher.rows_per_second),
            ]
        )
    return table(["model", "parameters", "size in students", "rows a second", "student is faster by"], rows)


def settings_table(values: Mapping[str, object]) -> str:
    """Names and values, as recorded."""
    return table(["argument", "value"], [[escape(name), setting(value)] for name, value in values.items()])


def labelled_row_weight(record: DistillationRecord) -> str:
    """For how many rows a labelled row counted, as a sentence; empty where every row has a label, or without a loss."""
    task, weight = record.task, record.training.get("labelled_row_weight")
    if record.labels_only or weight is None or not 0 < task.labelled_rows < task.train_rows:
        return ""
    most = task.train_rows / task.labelled_rows
    if float(weight) >= most:
        return " The task loss was a mean over labelled rows."
    return f" In the task loss, a mean over all rows, a labelled row counted {float(weight):g} times."


def pool_table(pool: PoolRecord) -> str:
    """What the members of a pool differ in, with the probability of each option."""
    rows = []
    for name, options in pool.choices.items():
        chances = pool.probabilities.get(name, ())
        said = [f"{option} ({chance:.2f})" for option, chance in zip(options, chances, strict=False)]
        rows.append([escape(name), ", ".join(said or map(str, options))])
    return table(["choice", "options"], rows)


def made_from(record: DistillationRecord) -> str:
    """From what the student was distilled, in half a sentence."""
    if record.pool is not None:
        return "trained with hf_ctkd on labels, as a teacher for a whole pool of student architectures"
    names: Sequence[str] = [teacher.candidate.name for teacher in record.teachers]
    if record.labels_only:
        return "trained with hf_ctkd on the labels alone, without distillation"
    if not names:
        return "trained with hf_ctkd, with a loss that needs no teacher"
    kind = "the teacher" if len(names) == 1 else f"a committee of {len(names)} teachers,"
    return (
        f"distilled with hf_ctkd from {kind} {listing(names, 4)}, by cross-task knowledge distillation: a teacher need "
        "not know these classes"
    )


def dataset_link(record: DistillationRecord, linked: bool) -> str:
    """The data set's name, linked when it is on the Hub."""
    name = escape(short_name(record.task.dataset), 120)
    return f"[{name}]({HUB}/datasets/{_url(record.task.dataset)})" if linked else name


def _url(repo_id: str) -> str:
    return "".join(c for c in repo_id if c.isascii() and (c.isalnum() or c in "/-_."))


def _score_title(name: str, ranking: TeacherRanking) -> str:
    title = escape(name)
    if name in ranking.controls:
        return f"{title} (control)"
    return f"**{title}**" if name == ranking.metric else title


def _interval(value: Confidence | None) -> str:
    if value is None:
        return ""
    if value.interval is None:
        return number(value.value)
    low, high = value.interval
    return f"{number(value.value)} ({number(low)} to {number(high)})"


def _speed(rows_per_second: float | None) -> str:
    return "not measured" if rows_per_second is None else f"{rows_per_second:,.0f}"


def _times(large: int | float | None, small: int | float | None) -> str:
    return "" if large is None or not small else f"{large / small:.1f}"
