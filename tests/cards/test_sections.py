from dataclasses import replace

from hf_ctkd.cards.sections import (
    cost_table,
    dataset_link,
    levels,
    made_from,
    overlap,
    ranking_table,
    results_table,
    settings_table,
    skipped_list,
    teacher_link,
    teachers_table,
)
from hf_ctkd.records import Confidence, RankedTeacher, TeacherRanking, TeacherRecord


def test_results_beside_the_baseline(image_record):
    assert results_table(image_record).splitlines()[2:] == [
        "| accuracy | 0.915 (0.880 to 0.945) | 0.773 (0.720 to 0.820) | +0.142 | no |",
        "| f1 | 0.912 (0.875 to 0.941) | 0.905 (0.860 to 0.930) | +0.007 | yes |",
    ]
    alone = results_table(replace(image_record, baseline={}))
    assert alone.splitlines()[0] == "| metric | student |"
    half = replace(image_record, baseline={"accuracy": image_record.baseline["accuracy"]})
    assert results_table(half).endswith("| f1 | 0.912 (0.875 to 0.941) | - | - | - |")


def test_intervals_that_touch_overlap():
    assert overlap(Confidence(1.0, 0.0, 2.0), Confidence(3.0, 2.0, 4.0))
    assert not overlap(Confidence(1.0, 0.0, 1.9), Confidence(3.0, 2.0, 4.0))
    assert not overlap(Confidence(3.0, 2.0, 4.0), Confidence(1.0, 0.0, 1.9))


def test_value_without_an_interval_stands_alone(image_record):
    plain = replace(image_record, results={"accuracy": Confidence(0.9)})
    assert results_table(plain).splitlines()[2:] == ["| accuracy | 0.900 | 0.773 (0.720 to 0.820) | +0.127 | - |"]
    assert levels(replace(plain, baseline={})) == ""
    assert overlap(Confidence(1.0), Confidence(1.0, 0.0, 2.0)) is None


def test_levels_of_the_intervals(image_record):
    assert levels(image_record) == "95 %"
    mixed = replace(image_record, baseline={"accuracy": Confidence(0.5, 0.4, 0.6, 0.9)})
    assert levels(mixed) == "90 % and 95 %"


def test_teachers_with_revision_licence_size_and_weight(image_record):
    [row] = teachers_table(image_record).splitlines()[2:]
    candidate = image_record.teachers[0].candidate
    assert f"[zoo/letters](https://huggingface.co/zoo/letters/tree/{candidate.revision})" in row
    assert "| 0123456789ab | 8: a, b, c, d, e, f and 2 more | 1.2 million | cc-by-nc-4.0 | 0.390 |" in row


def test_a_teacher_that_says_little(image_record):
    bare = replace(
        image_record.teachers[0].candidate,
        model_id="/home/me/zoo/own",
        source="folder",
        revision="ab12",
        license=None,
        label_names=None,
        parameters=None,
        role="foundation",
    )
    [row] = teachers_table(replace(image_record, teachers=(TeacherRecord(bare),))).splitlines()[2:]
    assert row == "| own (foundation) | ab12 | none, or not known | unknown | not stated: ask the authors | - |"
    assert teacher_link(bare) == "own", "no link and no path of the author"


def test_the_ten_best_with_controls_marked(image_record, ranking):
    lines = ranking_table(image_record, ranking).splitlines()
    assert "**transport** | leep | probe | parameters (control) |" in lines[0]
    assert len(lines) == 12
    assert "| yes | -0.200 |" in lines[2]
    assert "| yes |" not in "".join(lines[3:])
    assert ranking_table(image_record, TeacherRanking((), "transport")) == "No candidate could be scored."


def test_skipped_teachers_have_their_reason(ranking):
    assert skipped_list(ranking) == "- closed/model: gated: ask its owner for access"
    many = TeacherRanking(
        tuple(RankedTeacher(ranking.teachers[0].candidate, skipped="gone") for _ in range(25)), "transport"
    )
    assert skipped_list(many).endswith("- and 5 more, in `ranking.json`")


def test_size_and_speed_next_to_the_teacher(image_record):
    student, teacher = cost_table(image_record).splitlines()[2:]
    assert student == "| this student | 78 thousand | - | 4,200 | - |"
    assert teacher == "| zoo/letters | 1.2 million | 15.4 | 900 | 4.7 |"
    unmeasured = replace(image_record, student=replace(image_record.student, rows_per_second=None))
    assert "| not measured | - |" in cost_table(unmeasured)


def test_what_it_was_made_from(image_record, text_record):
    assert made_from(image_record).startswith("distilled with hf_ctkd from the teacher zoo/letters, by cross-task")
    assert "a committee of 2 teachers, zoo/letters" in made_from(
        replace(image_record, teachers=image_record.teachers * 2)
    )
    assert made_from(text_record) == "trained with hf_ctkd, with a loss that needs no teacher"
    plain = replace(text_record, loss=replace(text_record.loss, name="none"))
    assert made_from(plain) == "trained with hf_ctkd on the labels alone, without distillation"


def test_only_data_sets_on_the_hub_are_linked(image_record, text_record):
    assert dataset_link(image_record, True) == "[me/digits](https://huggingface.co/datasets/me/digits)"
    assert dataset_link(text_record, False) == "docstrings of scipy"


def test_settings_by_name():
    assert settings_table({"a|b": [1]}).splitlines()[2] == r"| a\|b | \[1\] |"
