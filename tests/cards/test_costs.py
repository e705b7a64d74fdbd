from dataclasses import replace

import pytest

from hf_ctkd.cards import render_card
from hf_ctkd.cards.costs import cost_table
from hf_ctkd.cards.figures import COSTS, FIGURES, accuracy_against_cost, drawable_figures
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records import Confidence, Proportion


def without_probes(record):
    return replace(record, teachers=tuple(replace(teacher, probe_accuracy=None) for teacher in record.teachers))


def test_size_and_speed_next_to_the_teacher(image_record):
    image_record = without_probes(image_record)
    student, teacher = cost_table(image_record).splitlines()[2:]
    assert student == "| this student | 78,000 | 4,200 | - |"
    assert teacher == "| zoo/letters | 1.2 million | 900 | 15.4 times smaller, 4.7 times faster |"
    unmeasured = replace(image_record, student=replace(image_record.student, rows_per_second=None))
    assert "| 78,000 | not measured | - |" in cost_table(unmeasured)
    slow = replace(image_record, student=replace(image_record.student, parameters=1_190_000, rows_per_second=800.0))
    assert "| about as large, 1.1 times slower |" in cost_table(slow)


def test_the_accuracy_of_a_teacher_is_said_to_be_that_of_probes(image_record):
    header, _, student, teacher = cost_table(image_record).splitlines()
    assert header == "| model | parameters | rows per second | accuracy | the student is |"
    assert student == "| this student | 78,000 | 4,200 | 0.915 (0.880 to 0.945) | - |"
    assert "| 900 | 0.940 (0.838 to 0.979), linear probes | 15.4 times smaller" in teacher
    card = render_card(image_record, figures=FIGURES)
    for text in (
        "Accuracies are not measured on the same rows: the student's is on the evaluation rows, and a teacher's, "
        "whatever classes it was trained for, is that of linear probes of its layers, cross-fitted on 50 labelled "
        "training rows.",
        "![Accuracy against size and speed: this student 0.915, this student without distillation 0.773, zoo/letters "
        f"0.940 by linear probes]({COSTS})",
    ):
        assert text in card, text


def test_a_teacher_without_probes_is_in_the_table_and_not_in_the_picture(image_record):
    other = replace(image_record.teachers[0].candidate, model_id="zoo/greek")
    more = replace(
        image_record,
        teachers=(*image_record.teachers, replace(without_probes(image_record).teachers[0], candidate=other)),
    )
    assert "| zoo/greek | 1.2 million | 900 | - | 15.4 times" in cost_table(more)
    assert not any("greek" in text.get_text() for text in accuracy_against_cost(more).legends[0].get_texts())


def test_teachers_of_the_same_name_are_told_apart(image_record):
    (teacher,) = image_record.teachers
    larger = replace(teacher, candidate=replace(teacher.candidate, parameters=9_000_000))
    two = replace(image_record, teachers=(teacher, larger), baseline={})
    assert [line.split(" | ")[0] for line in cost_table(two).splitlines()[3:]] == ["| zoo/letters", "| zoo/letters (2)"]
    named = [text.get_text() for text in accuracy_against_cost(two).legends[0].get_texts()]
    assert named == ["this student", "zoo/letters, by linear probes", "zoo/letters (2), by linear probes"]


@pytest.mark.parametrize(
    "change",
    [{"teachers": ()}, {"results": {}}, {"results": {"f1": Confidence(0.9)}}],
    ids=["no teacher", "no evaluation", "no accuracy"],
)
def test_nothing_is_drawn_where_there_is_nothing_to_compare(image_record, change):
    for record in (replace(image_record, **change), without_probes(image_record)):
        assert COSTS not in drawable_figures(record)
        card = render_card(record, figures=FIGURES[:4])
        assert "linear probes" not in card and "Accuracies are not" not in card
        with pytest.raises(InvalidArgumentError, match="`record` has no teacher with accuracy and cost to draw"):
            accuracy_against_cost(record)


def test_every_model_stands_at_its_cost_and_accuracy(image_record):
    figure = accuracy_against_cost(image_record)
    points = [[line.get_xydata()[0].tolist() for line, *_ in axes.containers] for axes in figure.axes]
    assert points[0] == [[78_000, 0.915], [78_000, 0.773], [1_200_000, 0.94]]
    assert points[1] == [[1000 / 4200, 0.915], [1000 / 4200, 0.773], [1000 / 900, 0.94]]
    assert [axes.get_xlabel() for axes in figure.axes] == ["parameters", "milliseconds a row, 32 at a time, on cpu"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "this student",
        "this student without distillation",
        "zoo/letters, by linear probes",
    ]


def test_a_cost_that_is_not_known_has_no_panel(image_record):
    unmeasured = replace(image_record, student=replace(image_record.student, rows_per_second=None))
    assert [axes.get_xlabel() for axes in accuracy_against_cost(unmeasured).axes] == ["parameters"]
    (teacher,) = unmeasured.teachers
    nothing = replace(teacher, candidate=replace(teacher.candidate, parameters=None))
    assert COSTS not in drawable_figures(replace(unmeasured, teachers=(nothing,)))


def test_of_many_teachers_those_with_the_best_probes_are_drawn(image_record):
    (teacher,) = image_record.teachers
    many = tuple(
        replace(
            teacher, candidate=replace(teacher.candidate, model_id=f"zoo/{right}"), probe_accuracy=Proportion(right, 50)
        )
        for right in range(20, 30)
    )
    figure = accuracy_against_cost(replace(image_record, teachers=many, baseline={}))
    names = [text.get_text().partition(",")[0] for text in figure.legends[0].get_texts()]
    assert names == ["this student", *(f"zoo/{right}" for right in range(29, 21, -1))]
    assert figure.get_suptitle() == "the 8 of 10 teachers with the most accurate probes"
