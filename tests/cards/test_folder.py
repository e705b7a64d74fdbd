import sys

import pytest

from hf_ctkd.cards import draw_card, read_records, render_again
from hf_ctkd.cards.figures import FIGURES
from hf_ctkd.errors import InvalidArgumentError


def test_records_come_back_from_a_folder(image_record, ranking, tmp_path):
    image_record.save(tmp_path / "distillation.json")
    assert read_records(tmp_path) == (image_record, None)
    ranking.save(tmp_path / "ranking.json")
    assert read_records(tmp_path) == (image_record, ranking)


def test_a_folder_without_a_record(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"Cannot read .*distillation\.json"):
        draw_card(tmp_path)


def test_what_was_drawn_is_rendered_again_unchanged(image_record, ranking, tmp_path):
    image_record.save(tmp_path / "distillation.json")
    ranking.save(tmp_path / "ranking.json")
    card = draw_card(tmp_path, "me/x")
    assert all((tmp_path / name).exists() and f"({name})" in card for name in FIGURES)
    assert render_again(tmp_path, "me/x") == card


def test_without_matplotlib_the_card_comes_without_figures_and_says_so(image_record, tmp_path, monkeypatch):
    image_record.save(tmp_path / "distillation.json")
    for name in ("matplotlib", "matplotlib.figure", "matplotlib.font_manager"):
        monkeypatch.setitem(sys.modules, name, None)
    card = draw_card(tmp_path)
    assert "Figures are left out" in card
    assert "figures/" not in card
    assert not (tmp_path / "figures").exists()
