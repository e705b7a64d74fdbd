"""What a search of an index finds, as rows of a table for people."""

from hf_ctkd.records import TeacherCandidate, parameters_in_words

HEADER = ("cost", "teacher", "task", "parameters", "licence", "downloads", "classes")


def table_row(teacher: TeacherCandidate, cost: float, *, names: int) -> list[str]:
    """A teacher as text, with the columns of `HEADER`.

    Args:
        teacher: of an index.
        cost: of transport between its classes and those that were searched for.
        names: most names of its classes.
    """
    classes = teacher.label_names or ()
    more = f", and {len(classes) - names} more" if len(classes) > names else ""
    return [
        f"{cost:.3f}",
        teacher.name,
        teacher.task or "-",
        parameters_in_words(teacher.parameters),
        teacher.license or "-",
        "-" if teacher.downloads is None else f"{teacher.downloads:,}",
        ", ".join(classes[:names]) + more,
    ]
