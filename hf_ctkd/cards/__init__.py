"""Records -> Markdown and figures: the model card of a student. Needs no torch."""

from hf_ctkd.cards.card import render_card
from hf_ctkd.cards.figures import draw_figures, leaderboard, results, transport_map
from hf_ctkd.cards.folder import draw_card, read_records, render_again
from hf_ctkd.cards.licenses import BindingLicense, Restriction, most_restrictive
from hf_ctkd.cards.publish import publish, write_card
from hf_ctkd.cards.publishable import check_folder, publishable_files

__all__ = [
    "BindingLicense",
    "Restriction",
    "draw_card",
    "draw_figures",
    "leaderboard",
    "most_restrictive",
    "read_records",
    "render_again",
    "check_folder",
    "publishable_files",
    "publish",
    "render_card",
    "results",
    "transport_map",
    "write_card",
]
