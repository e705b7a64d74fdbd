"""A student's folder: its records, and its card drawn from them."""

from pathlib import Path

from hf_ctkd.cards.card import render_card
from hf_ctkd.cards.figures import FIGURES, draw_figures
from hf_ctkd.errors import MissingExtraError
from hf_ctkd.records import DistillationRecord, TeacherRanking

RECORD = "distillation.json"
RANKING = "ranking.json"
CARD = "README.md"


def read_records(folder: Path | str) -> tuple[DistillationRecord, TeacherRanking | None]:
    """The records in a student's folder; the ranking is optional.

    Raises:
        InvalidArgumentError: if `distillation.json` is missing, or one of them holds something else.
    """
    folder = Path(folder)
    ranking = folder / RANKING
    return DistillationRecord.load(folder / RECORD), TeacherRanking.load(ranking) if ranking.exists() else None


def draw_card(folder: Path | str, repo_id: str | None = None) -> str:
    """Draw the figures into a student's folder and render its card, without writing the card.

    Args:
        folder: holds `distillation.json`, and `ranking.json` if there was a selection.
        repo_id: repository that the student is published as.

    Raises:
        InvalidArgumentError: if a record is missing or the folder cannot be written.
    """
    record, ranking = read_records(folder)
    try:
        figures = draw_figures(folder, record, ranking)
    except MissingExtraError:
        figures = ()  # the card itself says so
    return render_card(record, ranking, repo_id=repo_id, figures=figures)


def render_again(folder: Path | str, repo_id: str | None = None) -> str:
    """The card of a folder with the figures that lie there already: what its README.md should be."""
    figures = tuple(name for name in FIGURES if (Path(folder) / name).exists())
    return render_card(*read_records(folder), repo_id=repo_id, figures=figures)
