from dataclasses import replace

import pytest

from hf_ctkd.cards import render_card
from hf_ctkd.cards.figures import FIGURES, RELIABILITY, drawable_figures, reliability_diagram
from hf_ctkd.records import Reliability, ReliabilityBin
from hf_ctkd.tasks import MultiLabelClassification


def test_the_error_how_it_is_computed_and_in_which_direction(image_record):
    card = render_card(image_record, figures=FIGURES)
    for text in (
        # By chance: bins of 40, 60 and 200 rows miss by sqrt(2/pi) standard deviations of a binomial share, about.
        "## Calibration\n\nExpected calibration error: **0.050** on 300 rows; exactly right probabilities "
        "would show about 0.022 by chance. It is the gap between confidence, the probability of the predicted "
        "class, and accuracy, as a mean over 15 bins of equal width, each weighted by its rows.",
        "On average confidence is 0.043 below accuracy.",
        "![Reliability diagram: accuracy against confidence in 3 bins. The one of highest confidence holds 200 of 300 "
        f"with confidence 0.98 and accuracy 1.00]({RELIABILITY})",
    ):
        assert text in card, text
    too_sure = replace(image_record, reliability=Reliability(0.2, 0.7, (ReliabilityBin(0.9, 0.7, 300),)))
    assert "On average confidence is 0.200 above accuracy." in render_card(too_sure)
    right = replace(image_record, reliability=Reliability(0.2, 0.7, (ReliabilityBin(0.7003, 0.7, 300),)))
    assert "On average confidence is within 0.001 of accuracy." in render_card(right)


def test_decisions_of_students_with_several_classes_a_row(image_record):
    words = MultiLabelClassification().words("image")
    card = render_card(replace(image_record, task=replace(image_record.task, words=words)), figures=FIGURES)
    assert "**0.050** on 300 decisions, one for each row and class." in card
    assert "On average confidence" not in card and "would be expected" not in card
    assert (
        "share of rows with the class against probability in 3 bins. The one of highest probability holds 200 of 300 "
        "with probability 0.98 and share of rows with the class 1.00]"
    ) in card


@pytest.mark.parametrize("change", [{"reliability": None}, {"results": {}}])
def test_no_section_and_no_picture_without_a_measurement(image_record, change):
    record = replace(image_record, **change)
    assert RELIABILITY not in drawable_figures(record)
    assert "alibration" not in render_card(record, figures=FIGURES)


def test_the_picture_has_a_point_and_a_number_of_rows_for_every_bin(image_record):
    upper, lower = reliability_diagram(image_record.reliability).axes
    (points,) = (container.lines[0] for container in upper.containers)
    assert points.get_xydata().tolist() == [[0.5, 0.65], [0.8, 0.85], [0.98, 1.0]]
    assert [text.get_text() for text in lower.texts] == ["40", "60", "200"]
    assert [round(bar.get_x() * 15) for bar in lower.patches] == [7, 12, 14]
    assert "share of rows" in reliability_diagram(image_record.reliability, one_class_a_row=False).axes[0].get_ylabel()


def test_large_numbers_of_rows_are_shortened():
    lower = reliability_diagram(Reliability(0.1, 0.5, (ReliabilityBin(0.9, 0.8, 12_345),))).axes[1]
    assert [text.get_text() for text in lower.texts] == ["12k"]
