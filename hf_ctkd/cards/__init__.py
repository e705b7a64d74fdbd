"""Records -> Markdown and figures: the model card of a student. Needs no torch."""

from hf_ctkd.cards.card import render_card
from hf_ctkd.cards.figures import (
    accuracy_against_cost,
    draw_figures,
    leaderboard,
    reliability_diagram,
    results,
    transport_map,
)
from hf_ctkd.cards.folder import check_folder, draw_card, publishable_files, read_records, write_card
from hf_ctkd.cards.licenses import BindingLicense, Restriction, most_restrictive
from hf_ctkd.cards.page import PageSection, StudentOutcome, render_page, write_page
from hf_ctkd.cards.publish import publish

__all__ = [
    "BindingLicense",
    "PageSection",
    "Restriction",
    "StudentOutcome",
    "accuracy_against_cost",
    "check_folder",
    "draw_card",
    "draw_figures",
    "leaderboard",
    "most_restrictive",
    "publish",
    "publishable_files",
    "read_records",
    "reliability_diagram",
    "render_card",
    "render_page",
    "results",
    "transport_map",
    "write_card",
    "write_page",
]
