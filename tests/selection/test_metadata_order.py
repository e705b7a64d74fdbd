from dataclasses import replace

from hf_ctkd.records import TeacherCandidate
from hf_ctkd.selection.metadata_order import by_metadata


def teacher(name: str, *labels: str) -> TeacherCandidate:
    return TeacherCandidate(f"org/{name}", "sha", label_names=labels or None)


def test_teachers_with_the_same_names_of_classes_come_first():
    cars, headless, cats = teacher("cars", "truck", "bus"), teacher("headless"), teacher("cats", "tabby cat", "dog")
    broken = replace(teacher("broken", "cat", "dog"), problem="it is gated")
    control = replace(cats, random_weights=True)
    ordered = by_metadata([cars, headless, control, cats, broken], ["cat", "dog"])
    assert ordered[:2] == [broken, cats]
    assert ordered[2:] == [cars, headless, control]


def test_names_that_say_nothing_leave_the_order():
    given = [teacher("cars", "truck", "bus"), teacher("cats", "cat", "dog")]
    assert by_metadata(given, ["LABEL_0", "LABEL_1"]) == given
    assert by_metadata([], ["cat", "dog"]) == []
