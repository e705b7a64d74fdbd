import sys
from dataclasses import replace

import pytest
from PIL import Image

from hf_ctkd.cards.figures import (
    FIGURES,
    LEADERBOARD,
    MAX_CLASSES,
    RESULTS,
    draw_figures,
    drawable_figures,
    leaderboard,
    results,
    transport_map,
)
from hf_ctkd.errors import InvalidArgumentError, MissingExtraError, NoTeacherLeftError
from hf_ctkd.records import Confidence, TransportMap


def uniform(rows: int, columns: int, name=str) -> TransportMap:
    mass = tuple(tuple(1 / (rows * columns) for _ in range(columns)) for _ in range(rows))
    return TransportMap("t", tuple(map(name, range(rows))), tuple(map(name, range(columns))), mass)


def names(ticks) -> list[str]:
    return [label.get_text() for label in ticks]


def test_every_figure_of_the_records_is_drawn(image_record, text_record, ranking, tmp_path):
    assert draw_figures(tmp_path, image_record, ranking) == FIGURES
    for name in FIGURES:
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 300
            assert len(picture.convert("L").getcolors()) > 10, "not an empty page"
    assert drawable_figures(text_record) == ()
    assert LEADERBOARD not in drawable_figures(image_record, replace(ranking, teachers=ranking.teachers[-1:]))


def test_the_same_records_give_the_same_picture(image_record, tmp_path):
    draw_figures(tmp_path / "a", image_record)
    draw_figures(tmp_path / "b", image_record)
    assert (tmp_path / "a" / RESULTS).read_bytes() == (tmp_path / "b" / RESULTS).read_bytes()


def test_a_folder_that_cannot_be_written(image_record, tmp_path):
    (tmp_path / "figures").write_text("a file where the folder should be")
    with pytest.raises(InvalidArgumentError, match="Cannot write .*Choose a folder"):
        draw_figures(tmp_path, image_record)


def test_the_leaderboard_has_a_panel_a_score_and_controls_marked(ranking):
    figure = leaderboard(ranking)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [
        "transport\n(orders this list)",
        "leep\n(also scored)",
        "probe\n(also scored)",
        "parameters\n(control)",
    ]
    assert names(figure.axes[0].get_yticklabels())[:2] == ["zoo/letters", "zoo/greek"]
    top, bottom = figure.axes[0].get_ylim()[::-1]
    assert top < bottom, "best on top"


def test_a_leaderboard_without_teachers(ranking):
    with pytest.raises(NoTeacherLeftError, match="gated"):
        leaderboard(replace(ranking, teachers=ranking.teachers[-1:]))


def test_a_score_that_one_teacher_lacks_is_left_out(ranking):
    headless = replace(ranking.teachers[1], scores={"probe": 0.5})
    figure = leaderboard(replace(ranking, teachers=(ranking.teachers[0], headless)))
    assert len(figure.axes[0].collections[0].get_offsets()) == 1


def test_a_transport_map_names_both_label_spaces_and_makes_a_diagonal():
    mass = ((0.0, 0.0, 0.3), (0.4, 0.0, 0.0), (0.0, 0.3, 0.0))
    axes = transport_map(TransportMap("zoo/t", ("cat", "dog", "fox"), ("x", "y", "z"), mass)).axes[0]
    assert names(axes.get_yticklabels()) == ["dog", "fox", "cat"]
    assert names(axes.get_xticklabels()) == ["x", "y", "z"]
    assert {text.get_text() for text in axes.texts} == {"40", "30"}


def test_only_the_largest_classes_are_drawn_and_the_title_says_so():
    figure = transport_map(uniform(40, 30))
    assert len(figure.axes[0].get_yticklabels()) == len(figure.axes[0].get_xticklabels()) == MAX_CLASSES
    assert "the 25 of 40 by 25 of 30 largest classes, 52 % of the rows" in figure.get_suptitle()
    assert "\n" not in transport_map(uniform(3, 4)).get_suptitle()


def test_names_that_no_font_has_or_that_look_like_mathematics(tmp_path):
    hostile = ["狗狗狗", "$\\frac{", "a\nb", "x" * 99]
    figure = transport_map(uniform(4, 4, hostile.__getitem__))
    figure.savefig(tmp_path / "map.png")
    shown = names(figure.axes[0].get_yticklabels())
    assert shown[0] == "class 0"
    assert max(map(len, shown)) <= 28


def test_results_stand_beside_the_baseline(image_record):
    figure = results(image_record)
    assert names(figure.legends[0].get_texts()) == ["student", "without distillation"]
    assert names(figure.axes[0].get_yticklabels()) == ["accuracy", "f1"]
    assert not results(replace(image_record, baseline={})).legends


def test_an_interval_beside_its_estimate_is_drawn(image_record):
    results(replace(image_record, results={"accuracy": Confidence(0.9, 0.91, 0.95)}))


def test_a_value_without_an_interval_is_drawn_without_a_bar(image_record):
    plain = {"accuracy": Confidence(0.9), "f1": Confidence(0.8)}
    figure = results(replace(image_record, results=plain, baseline={}))
    assert figure.axes[0].get_xlabel() == "on 300 rows"
    mixed = results(replace(image_record, results={**plain, "f1": Confidence(0.8, 0.7, 0.9)}))
    assert mixed.axes[0].get_xlabel() == "on 300 rows, bars: intervals"


def test_no_results_to_draw(text_record):
    with pytest.raises(InvalidArgumentError, match="`record` has no results to draw. Evaluate the student first."):
        results(text_record)


def test_without_matplotlib(image_record, ranking, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"pip install hf_ctkd\[plots\]"):
        results(image_record)
    with pytest.raises(MissingExtraError, match=r"pip install hf_ctkd\[plots\]"):
        leaderboard(ranking)
    with pytest.raises(MissingExtraError):
        draw_figures(tmp_path, image_record)


def test_without_matplotlib_transport(image_record, monkeypatch):
    for name in ("matplotlib", "matplotlib.figure", "matplotlib.font_manager"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match="Figures need matplotlib"):
        transport_map(image_record.transport_map)
