"""What the student costs beside its teachers: size, speed, and how accurate each of them is."""

from dataclasses import dataclass

from hf_ctkd.cards.markdown import escape, listing, table, with_interval
from hf_ctkd.cards.metadata import LONGEST_ID
from hf_ctkd.records import Confidence, DistillationRecord, distinct_names, parameters_in_words

_EQUAL = {"smaller": "large", "faster": "fast"}
_STUDENT = "this student"
_BASELINE = "this student without distillation"


@dataclass(frozen=True)
class Model:
    """The student, or a teacher, as a table or a picture compares them.

    Args:
        name: what to call it.
        parameters: how many it has; None where this is not known.
        rows_per_second: its speed; None where it was not measured.
        accuracy: on the evaluation rows; of a teacher that of linear probes, see `TeacherRecord.probe_accuracy`. None
            where there is none.
        is_teacher: whether it is a teacher.
    """

    name: str
    parameters: int | None
    rows_per_second: float | None
    accuracy: Confidence | None
    is_teacher: bool = False


def compared_models(record: DistillationRecord) -> tuple[Model, ...]:
    """The student, and its teachers in the order of the record; the second of the same name is `NAME (2)`.

    Args:
        record: how the student was made and what came out.
    """
    student = record.student
    accuracy = record.results.get("accuracy")
    names = distinct_names([teacher.candidate.name for teacher in record.teachers])
    teachers = (
        Model(
            name,
            teacher.candidate.parameters,
            teacher.rows_per_second,
            None if teacher.probe_accuracy is None else teacher.probe_accuracy.confidence(),
            is_teacher=True,
        )
        for name, teacher in zip(names, record.teachers, strict=True)
    )
    return Model(_STUDENT, student.parameters, student.rows_per_second, accuracy), *teachers


def models_with_accuracy(record: DistillationRecord) -> tuple[Model, ...]:
    """Those of `compared_models` with an accuracy, and the student without distillation, which costs what it costs.

    Args:
        record: how the student was made and what came out.

    Returns:
        Empty unless both the student and a teacher have an accuracy: there is nothing to compare a cost with.
    """
    models = tuple(model for model in compared_models(record) if model.accuracy is not None)
    if len({model.is_teacher for model in models}) < 2:
        return ()
    student, *teachers = models
    if "accuracy" not in record.baseline:
        return models
    baseline = Model(_BASELINE, student.parameters, student.rows_per_second, record.baseline["accuracy"])
    return student, baseline, *teachers


def accuracy_over_costs(record: DistillationRecord) -> dict[str, list[tuple[Model, float]]]:
    """The models with an accuracy by what each costs, as a picture shows them.

    Args:
        record: how the student was made and what came out.

    Returns:
        What the cost is -> models and their costs, the student first; only costs that are known of student and a
        teacher.
    """
    student, models = record.student, models_with_accuracy(record)
    sizes = [(model, float(model.parameters)) for model in models if model.parameters]
    times = [(model, 1000 / model.rows_per_second) for model in models if model.rows_per_second]
    where = f", on {student.device}" if student.device else ""
    batch = f", {student.batch_size} at a time" if student.batch_size else ""
    named = {"parameters": sizes, f"milliseconds a row{batch}{where}": times}
    return {name: pairs for name, pairs in named.items() if len({model.is_teacher for model, _ in pairs}) == 2}


def cost_table(record: DistillationRecord) -> str:
    """Size and speed of the student and of its teachers, and their accuracy where a teacher has any.

    Args:
        record: how the student was made and what came out.
    """
    with_accuracy = bool(models_with_accuracy(record))
    student, *teachers = compared_models(record)
    rows = []
    for model in (student, *teachers):
        comparisons = [
            _comparison(model.parameters, student.parameters, "smaller", "larger"),
            _comparison(student.rows_per_second, model.rows_per_second, "faster", "slower"),
        ]
        rows.append(
            [
                escape(model.name, LONGEST_ID),
                parameters_in_words(model.parameters),
                "not measured" if model.rows_per_second is None else f"{model.rows_per_second:,.0f}",
                *([_accuracy(model)] if with_accuracy else []),
                ", ".join(comparison for comparison in comparisons if comparison) if model.is_teacher else "",
            ]
        )
    accuracy = ["accuracy"] if with_accuracy else []
    return table(["model", "parameters", "rows per second", *accuracy, "the student is"], rows)


def accuracy_note(record: DistillationRecord) -> str:
    """What the accuracies of student and teachers are measured on; empty where the table has none.

    Args:
        record: how the student was made and what came out.
    """
    if not models_with_accuracy(record):
        return ""
    rows = max(teacher.probe_accuracy.rows for teacher in record.teachers if teacher.probe_accuracy is not None)
    return (
        "Accuracies are not measured on the same rows: the student's is on the evaluation rows, and a teacher's, "
        "whatever classes it was trained for, is that of linear probes of its layers, cross-fitted on "
        f"{rows:,} labelled training rows."
    )


def cost_alternative(record: DistillationRecord) -> str:
    """What stands in the place of the picture of accuracy against cost where pictures are not shown.

    Args:
        record: how the student was made and what came out.
    """
    models = models_with_accuracy(record)
    names = [
        f"{model.name} {model.accuracy.value:.3f}{' by linear probes' if model.is_teacher else ''}"
        for model in models
        if model.accuracy is not None
    ]
    return f"Accuracy against size and speed: {listing(names, longest=LONGEST_ID)}"


def _accuracy(model: Model) -> str:
    accuracy = with_interval(model.accuracy)
    return f"{accuracy}, linear probes" if accuracy and model.is_teacher else accuracy


def _comparison(large: float | None, small: float | None, more: str, less: str) -> str:
    """How many times `large` exceeds `small`, such as "1.9 times faster"; "1.1 times slower" where it is less."""
    if not large or not small:
        return ""
    factor = max(large / small, small / large)
    return f"about as {_EQUAL[more]}" if factor < 1.05 else f"{factor:,.1f} times {more if large > small else less}"
