"""Mistakes of a user that mypy must notice; each line ends with the code of its error."""

from hf_ctkd import TeacherSelector, evaluate_student
from hf_ctkd.deprecation import deprecated

TeacherSelector(metric=3)  # arg-type
evaluate_student("student")  # call-arg
TeacherSelector().rank_all()  # attr-defined


@deprecated("twice", removal="9.0.0", instead="`2 * x`")
def twice(x: int) -> int:
    return 2 * x


number: str = twice(3)  # assignment
