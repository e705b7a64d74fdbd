from hf_ctkd.index.table import HEADER, table_row
from hf_ctkd.records import TeacherCandidate


def test_a_teacher_is_a_line_of_text():
    teacher = TeacherCandidate("org/cats", "main", label_names=("tabby", "siamese", "lynx"), downloads=12345)
    row = table_row(teacher, 0.25, names=2)
    assert row[:2] == ["0.250", teacher.name]
    assert row[-2:] == ["12,345", "tabby, siamese, and 1 more"] and len(row) == len(HEADER)
    assert table_row(TeacherCandidate("org/x", "main"), 1.0, names=2)[2:] == ["-", "unknown", "-", "-", ""]
