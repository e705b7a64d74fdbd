import math
from dataclasses import replace

import pytest

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records import RankedTeacher, TeacherCandidate, TeacherFreeBaseline, TeacherRanking, expected_gain
from hf_ctkd.records.expected_gain import HALF_WIDTH, INTERCEPT, LARGEST_GAP, SLOPE

FACTS = {"rows": 1000, "labelled_rows": 100}


def ranked(name, score):
    return RankedTeacher(TeacherCandidate(name, "main"), {"information_gain": score})


@pytest.fixture
def ranking():
    baseline = TeacherFreeBaseline({"information_gain": 0.4})
    teachers = (
        ranked("org/good", 0.6),
        ranked("org/poor", 0.3),
        RankedTeacher(TeacherCandidate("org/bad", "main"), skipped="x"),
    )
    return TeacherRanking(teachers, "information_gain", dataset=FACTS, baseline=baseline)


def test_the_gain_grows_with_the_gap_and_the_share_of_rows_without_a_label():
    gain = expected_gain(0.6, 0.4, 0.1)
    assert gain.points == pytest.approx(INTERCEPT + SLOPE * 0.2 * 0.9)
    assert (gain.low, gain.high) == pytest.approx((gain.points - HALF_WIDTH, gain.points + HALF_WIDTH))
    assert expected_gain(0.6, 0.4, 0.5).points < gain.points < expected_gain(0.7, 0.4, 0.1).points
    assert expected_gain(0.9, 0.4, 1.0).points == INTERCEPT, "no row to learn on"
    assert expected_gain(0.3, 0.4, 0.1) is expected_gain(0.4, 0.4, 0.1) is None, "nothing to learn"


def test_beyond_the_outcomes_that_were_measured_the_line_does_not_go_on():
    gain = expected_gain(0.9, 0.2, 0.0001)
    assert gain.points == pytest.approx(INTERCEPT + SLOPE * LARGEST_GAP) and gain.beyond
    assert str(gain) == f"more than {gain.points:+.1f} points ({gain.low:+.1f} or more)"
    assert not expected_gain(0.59, 0.2, 0.01).beyond


def test_a_ranking_says_what_its_teachers_are_expected_to_add(ranking):
    text = str(expected_gain(0.6, 0.4, 0.1))
    assert ranking.advice.endswith(f"Expect org/good to add {text} to what the student reaches without a teacher.")
    lines = str(ranking).splitlines()
    assert "expected gain" in lines[0] and "+9.4" in lines[1]
    assert ranking.to_pandas()["expected_gain"].round(1).tolist()[0] == 9.4
    assert ranking.expected_gain(ranking.teachers[1]) is None and " - " in lines[3], "it is below the line"
    assert ranking.expected_gain(ranking.teachers[2]) is None, "it was not scored"


@pytest.mark.parametrize(
    "change",
    [
        {"baseline": None},
        {"dataset": {}},
        {"dataset": {"rows": 10, "labelled_rows": 0}},
        {"dataset": {"rows": 10, "labelled_rows": 10}},
    ],
    ids=["no baseline", "no facts", "no labels", "all labels"],
)
def test_no_gain_is_expected_where_nothing_is_known(ranking, change):
    unknown = replace(ranking, **change)
    assert unknown.expected_gain(unknown.teachers[0]) is None
    assert "expected gain" not in str(unknown) and "Expect " not in unknown.advice


def test_other_scores_expect_nothing(ranking):
    teacher = RankedTeacher(TeacherCandidate("org/good", "main"), {"logme": 0.6})
    other = replace(ranking, metric="logme", teachers=(teacher,), baseline=TeacherFreeBaseline({"logme": 0.4}))
    assert other.expected_gain(teacher) is None and other.advice.startswith("1 teacher knows")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((math.nan, 0.1, 0.5), "`score` must be a finite information gain, got nan"),
        ((0.5, math.inf, 0.5), "`baseline` must be a finite information gain, got inf"),
        ((0.5, 0.1, 0.0), r"`labelled_share` must lie in \(0, 1\], got 0.0"),
        ((0.5, 0.1, 1.5), r"`labelled_share` must lie in \(0, 1\], got 1.5"),
    ],
)
def test_numbers_out_of_range(values, message):
    with pytest.raises(InvalidArgumentError, match=message):
        expected_gain(*values)
