"""The comment by which a card is known to be ours, and untouched by hand since."""

import hashlib
import re
from dataclasses import dataclass

_MARK = re.compile(r"<!-- hf_ctkd card(?: of (?P<repo>[\w./-]+))?, digest (?P<digest>[0-9a-f]{16})\b[^\n]*-->")
_BLANK = "0" * 16


@dataclass(frozen=True)
class CardMark:
    """What a card says of itself.

    Args:
        repo_id: repository that the card was rendered for; None for a folder.
        untouched: whether its text is still the one that was rendered.
    """

    repo_id: str | None
    untouched: bool

    @classmethod
    def read(cls, text: str) -> "CardMark | None":
        """The mark of a card; None when the card is somebody else's."""
        match = _MARK.search(text)
        if match is None:
            return None
        blank = text[: match.start("digest")] + _BLANK + text[match.end("digest") :]
        return cls(match["repo"], _digest(blank) == match["digest"])


def blank_mark(repo_id: str | None) -> str:
    """The comment that `seal` completes."""
    of = "" if repo_id is None else f" of {repo_id}"
    return (
        f"<!-- hf_ctkd card{of}, digest {_BLANK}: rendered from records; a card changed by hand is not overwritten -->"
    )


def seal(text: str) -> str:
    """A card with the digest of its own text in its mark."""
    return text.replace(f"digest {_BLANK}", f"digest {_digest(text)}", 1)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
