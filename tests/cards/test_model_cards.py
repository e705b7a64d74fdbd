"""The published cards in `model_cards/` are what their records say.

After a change of the template: `python -m hf_ctkd.cards model_cards/*`, and read the difference.
"""

from pathlib import Path

import pytest

from hf_ctkd.cards import draw_card, read_records, render_card
from hf_ctkd.cards.figures import FIGURES
from hf_ctkd.cards.signature import CardSignature

MODEL_CARDS = Path(__file__).parents[2] / "model_cards"
FOLDERS = sorted(path.parent for path in MODEL_CARDS.glob("*/distillation.json"))


def check_golden(folder: Path) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    signature = CardSignature.read(card)
    assert signature is not None, f"{folder / 'README.md'} was not rendered by hf_ctkd"
    figures = tuple(name for name in FIGURES if (folder / name).exists())
    expected = render_card(*read_records(folder), repo_id=signature.repo_id, figures=figures)
    assert expected == card, f"run `python -m hf_ctkd.cards {folder}`"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_published_card_is_what_its_records_say(folder):
    check_golden(folder)


def test_the_check_notices_a_change_of_records_or_card(image_record, ranking, tmp_path):
    image_record.save(tmp_path / "distillation.json")
    ranking.save(tmp_path / "ranking.json")
    (tmp_path / "README.md").write_text(draw_card(tmp_path, image_record, ranking, "me/x"), encoding="utf-8")
    check_golden(tmp_path)

    card = (tmp_path / "README.md").read_text()
    (tmp_path / "README.md").write_text(card.replace("0.915", "0.999"))
    with pytest.raises(AssertionError, match="python -m hf_ctkd.cards"):
        check_golden(tmp_path)
    (tmp_path / "README.md").write_text(card)
    (tmp_path / "ranking.json").unlink()
    with pytest.raises(AssertionError, match="python -m hf_ctkd.cards"):
        check_golden(tmp_path)
    (tmp_path / "README.md").write_text("# by hand")
    with pytest.raises(AssertionError, match="not rendered by hf_ctkd"):
        check_golden(tmp_path)
