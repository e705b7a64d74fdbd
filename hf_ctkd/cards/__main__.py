"""`python -m hf_ctkd.cards model_cards/<name> ...`: render the cards of folders again from their records."""

import argparse
import sys
from pathlib import Path

from hf_ctkd.cards.folder import CARD, draw_card, read_records
from hf_ctkd.cards.signature import CardSignature
from hf_ctkd.errors import CTKDError
from hf_ctkd.records import write_text


def main(arguments: list[str] | None = None) -> int:
    """Render again every folder named; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m hf_ctkd.cards", description="Render cards again from their records."
    )
    parser.add_argument("folders", nargs="+", type=Path, help="folders with a distillation.json")
    for folder in parser.parse_args(arguments).folders:
        try:
            sys.stdout.write(f"{_render(folder)}\n")
        except CTKDError as error:
            sys.stderr.write(f"{error}\n")
            return 2
    return 0


def _render(folder: Path) -> Path:
    card = folder / CARD
    record, ranking = read_records(folder)
    signature = CardSignature.read(card.read_text(encoding="utf-8")) if card.exists() else None
    return write_text(card, draw_card(folder, record, ranking, None if signature is None else signature.repo_id))


if __name__ == "__main__":
    sys.exit(main())
